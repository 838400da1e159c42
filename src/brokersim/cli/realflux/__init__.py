"""Knows the names of the commands for a real Flux; nothing of what they do."""

from __future__ import annotations

from typing import Final

import click

from brokersim.cli.command import Group

_LAZY: Final = {
    "load": "brokersim.cli.realflux.load:load",
    "instrument": "brokersim.cli.realflux.instrument:instrument",
}


@click.group("flux", cls=Group, lazy=_LAZY)
def flux() -> None:
    """What brokersim does in a real Flux."""
