"""Knows the names of the commands on statsd streams; nothing of what they do."""

from __future__ import annotations

from typing import Final

import click

from brokersim.cli.command import Group

_LAZY: Final = {
    "serve": "brokersim.cli.stats.serve:serve",
    "tail": "brokersim.cli.stats.tail:tail",
    "send": "brokersim.cli.stats.send:send",
    "record": "brokersim.cli.stats.record:record",
    "replay": "brokersim.cli.stats.replay:replay",
    "lint": "brokersim.cli.stats.lint:lint",
    "explain": "brokersim.cli.stats.explain:explain",
    "explain-retention": "brokersim.cli.stats.retention:explain_retention",
    "explain-intervals": "brokersim.cli.stats.explain_intervals:explain_intervals",
}


@click.group("stats", cls=Group, lazy=_LAZY)
def stats() -> None:
    """A statsd server, and tools for statsd streams: watch, record, replay, lint, explain."""
