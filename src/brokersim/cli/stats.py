"""Knows the names of the commands on statsd streams; nothing of what they do."""

from __future__ import annotations

from typing import Final

import click

from brokersim.cli.command import Group

_LAZY: Final = {
    "serve": "brokersim.cli.stats_serve:serve",
    "tail": "brokersim.cli.stats_tail:tail",
    "send": "brokersim.cli.stats_send:send",
    "record": "brokersim.cli.stats_record:record",
    "replay": "brokersim.cli.stats_replay:replay",
    "lint": "brokersim.cli.stats_lint:lint",
    "explain": "brokersim.cli.stats_explain:explain",
    "explain-retention": "brokersim.cli.stats_retention:explain_retention",
}


@click.group("stats", cls=Group, lazy=_LAZY)
def stats() -> None:
    """A statsd server, and tools for statsd streams: watch, record, replay, lint, explain."""
