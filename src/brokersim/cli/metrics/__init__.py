"""Knows the commands about statistics merged over all ranks; not how they are counted or merged."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_LAZY = {
    "add": "brokersim.cli.metrics.add:add",
    "list": "brokersim.cli.metrics.stats:list_",
    "collect": "brokersim.cli.metrics.collect:collect",
    "show": "brokersim.cli.metrics.collect:show",
    "log": "brokersim.cli.metrics.log:log",
    "rm": "brokersim.cli.metrics.stats:rm",
    "observe": "brokersim.cli.metrics.stats:observe",
}


@click.group("metrics", cls=Group, lazy=_LAZY)
def metrics() -> None:
    """Count over all ranks, merged up the tree."""
