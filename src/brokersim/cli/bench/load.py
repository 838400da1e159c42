"""Knows the options that say what an experiment is loaded with; not what they mean (lab/load/loads.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def load_options(command: F) -> F:
    """``--workload``, ``--limit``, ``--speed``: fields of the experiment's Plan (docs/workloads.md has all three)."""
    options = (
        click.option(
            "--workload", default="serial", metavar="LOAD",
            help="bulk, swf:FILE, trace:FILE, ...  [serial]",
        ),
        click.option("--limit", type=click.IntRange(1), metavar="N", hidden=True, help="of FILE, the first"),
        click.option(
            "-x", "--speed", type=click.FloatRange(0, min_open=True), default=1.0, metavar="X", hidden=True,
            help="of FILE  [1]",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
