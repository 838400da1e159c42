"""Knows the group of experiments and the main one's options; not how they are run (lab)."""

from __future__ import annotations

from typing import Any

import click

from brokersim.cli.bench.common import conduct, shared
from brokersim.cli.bench.load import load_options
from brokersim.cli.command import Command, Group, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION

_SMALLER = ("idle", "states", "latency", "period", "resolution", "aggregator", "modules", "overhead", "decay")
_LAZY = {name: f"brokersim.cli.bench.experiments:{name}" for name in _SMALLER}
_LAZY["intervals"] = "brokersim.cli.bench.intervals:intervals"
_LAZY["journal"] = "brokersim.cli.bench.journal:journal"


@click.group("bench", cls=Group, lazy=_LAZY)
def bench() -> None:
    """Experiments: what instrumentation costs and how far it is from the truth."""


@bench.command(
    "watchers",
    cls=Command,
    **examples(
        ("brokersim bench watchers", "200 serial jobs under each hook, real time"),
        ("brokersim bench watchers --workload swf:log.swf --speed 100", "a job log (docs/workloads.md)"),
    ),
)
@click.option("--hooks", metavar="LIST", help="of none, timer:FSD, prepare, check, idle  [all]")
@click.option("-t", "--run-time", type=DURATION, metavar="FSD", help="of a simulated job  [1ms]")
@load_options
@shared(unlisted=("reps",))
@pass_session
def watchers(session: Session, /, hooks: str | None, **given: Any) -> int | None:
    """Run the same jobs under each hook: wall time, packets, overhead."""
    if hooks is not None:
        try:
            given["hooks"] = tuple(_checked(hook) for hook in hooks.split(","))
        except ValueError as error:
            raise usage_error(str(error), attempt="brokersim bench watchers -h") from None
    return conduct(session, "watchers", given, COLUMNS, _counters)


def _counters(session: Session, found: dict[str, Any]) -> None:
    """What each module counted under the prepare hook, or the last there was."""
    from brokersim.lab.experiments.watchers import counter_rows

    shown = "prepare" if "prepare" in found["modules"] else list(found["modules"])[-1]
    session.out(f"\ncounters of each module, hook {shown}")
    rows = counter_rows(found["modules"][shown])
    session.table(tuple(rows[0]), [tuple(row.values()) for row in rows])


COLUMNS = (
    ("hook", "hook", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".1f"),
    ("messages", "messages", ",d"), ("iterations", "iterations", ",d"), ("packets", "packets", ",d"),
    ("packets/message", "packets_per_message", ".2f"), ("metrics/s peak", "metrics_per_s_peak", ",.0f"),
    ("low", "metrics_per_s_low", ",.0f"), ("scatter (CV)", "cv", ".2f"), ("cpu s", "cpu_s", ".2f"),
    ("overhead", "overhead", "+.1%"), ("journal", "journal", "+.1%"),
)  # fmt: skip


def _checked(hook: str) -> str:
    from brokersim.protocol.settings import check_hook

    if hook == "none":
        return hook
    try:
        return check_hook(hook)
    except ValueError as error:
        raise ValueError(f"--hooks: {error}, or none") from None
