"""Knows the commands about records of the registry: listing, watching, a shell, an HTTP server; not records."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_RECORDS = "brokersim.cli.registry.records"
_LAZY = {
    "list": f"{_RECORDS}:list_",
    "get": f"{_RECORDS}:get",
    "put": f"{_RECORDS}:put",
    "rm": f"{_RECORDS}:rm",
    "watch": f"{_RECORDS}:watch",
    "data": "brokersim.cli.registry.data:data",
    "shell": "brokersim.cli.registry.shell:shell",
    "serve": "brokersim.cli.registry.serve:serve",
}


@click.group("registry", cls=Group, lazy=_LAZY)
def registry() -> None:
    """Keep records of nodes, services, measurements, series."""
