"""Knows the names of the commands on statsd streams; nothing of what they do."""

from __future__ import annotations

from typing import Final

import click

from brokersim.cli.command import Group, examples

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


@click.group(
    "stats",
    cls=Group,
    lazy=_LAZY,
    **examples(
        ("brokersim stats serve", "on port 8125, page on 8127"),
        ("brokersim stats tail", "what a running 'stats serve' receives"),
        ("brokersim stats send 'flux.kvs.0.request_rx:5|g'", "one gauge"),
    ),
)
def stats() -> None:
    """A statsd server, and tools for statsd streams."""
