"""Knows the commands about probes: what there is, one reading, schedules; not how anything is read or when."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_LAZY = {
    "list": "brokersim.cli.probe.list:list_",
    "read": "brokersim.cli.probe.read:read",
    "schedule": "brokersim.cli.probe.schedule:schedule",
}


@click.group("probe", cls=Group, lazy=_LAZY)
def probe() -> None:
    """Measure what modules cost the machine, on schedules."""
