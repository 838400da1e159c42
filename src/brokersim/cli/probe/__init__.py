"""Knows the commands about probes: what there is, one reading, schedules; not how anything is read or when."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_MEASUREMENTS = "brokersim.cli.probe.measurements"
_LAZY = {
    "list": "brokersim.cli.probe.list:list_",
    "read": "brokersim.cli.probe.read:read",
    "record": "brokersim.cli.probe.record:record",
    "schedule": "brokersim.cli.probe.schedule:schedule",
    "status": f"{_MEASUREMENTS}:status",
    "add": f"{_MEASUREMENTS}:add",
    "rm": f"{_MEASUREMENTS}:rm",
    "on": f"{_MEASUREMENTS}:on",
    "off": f"{_MEASUREMENTS}:off",
    "restart": f"{_MEASUREMENTS}:restart",
    "run-now": f"{_MEASUREMENTS}:run_now",
    "validate": "brokersim.cli.probe.config:validate",
    "schema": "brokersim.cli.probe.config:schema",
    "explain": "brokersim.cli.probe.config:explain",
}


@click.group("probe", cls=Group, lazy=_LAZY)
def probe() -> None:
    """Measure what modules cost the machine, on schedules."""
