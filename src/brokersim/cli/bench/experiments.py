"""Knows the options of single experiments and the columns of their tables; not how they are run (lab).

One story told nine times, so it is one file: options become a frozen Plan, the lab runs it, columns are shown.
"""

from __future__ import annotations

from typing import Any

import click

from brokersim.cli.bench.common import COUNT, conduct, shared
from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed


def _durations(text: str) -> tuple[float, ...]:
    from brokersim.protocol.duration import parse_duration

    return tuple(parse_duration(one) for one in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


DURATIONS = Parsed("durations", _durations)
WORDS = Parsed("list", _words)


@click.command(
    "states",
    cls=Command,
    **examples(
        ("brokersim bench states", "500 jobs, the plugin as it was and cured"),
        ("brokersim bench states --full --out states", "the journal's 10,000; a page of plots"),
    ),
)
@click.option("--timer", type=DURATION, metavar="FSD", help="of the plugin  [1s]")
@click.option("--flush", type=DURATION, metavar="FSD", help="of the aggregator  [1s]")
@click.option("--tail", type=DURATION, metavar="FSD", help="after the last job  [10s]")
@shared(unlisted=("reps",))
@pass_session
def states(session: Session, /, **given: Any) -> int | None:
    """Job-state curves against the truth; NEW sinking, and cured."""
    columns = (
        ("form", "form", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".1f"),
        ("packets", "packets", ",d"), ("NEW end", "new_end", ",.0f"), ("SCHED end", "sched_end", ",.0f"),
        ("INACTIVE end", "inactive_end", ",.0f"), ("RUN max", "run_highest", ".0f"),
        ("true", "run_true_highest", "d"), ("CLEANUP max", "cleanup_highest", ".0f"),
        ("true", "cleanup_true_highest", "d"),
    )  # fmt: skip
    return conduct(session, "states", given, columns)


@click.command(
    "idle",
    cls=Command,
    **examples(
        ("brokersim bench idle", "a minute under each hook, without and with a job that prints"),
        ("brokersim bench idle --background-job 0 --seconds 20s", "nothing but heartbeats"),
    ),
)
@click.option("--seconds", type=DURATION, metavar="FSD", help="observed under each hook  [1m]")
@click.option(
    "--background-job", "background", type=click.FloatRange(0, 1000), metavar="RATE",
    help="lines a second of the chatty job, 0 for none  [1.55]",
)  # fmt: skip
@shared(unlisted=("jobs", "clock", "reps"))
@pass_session
def idle(session: Session, /, **given: Any) -> int | None:
    """An instance at rest: what moves, under each hook."""
    if given["seconds"] is not None:
        given["spans"] = {}
    columns = (
        ("", "rest", ""), ("hook", "hook", ""), ("messages", "messages", ",d"), ("packets", "packets", ",d"),
        ("metrics/s", "metrics_per_s", ".1f"), ("scatter (CV)", "cv", ".2f"),
        ("packets/message", "packets_per_message", ".2f"), ("commits", "commits", ",d"),
    )  # fmt: skip
    return conduct(session, "idle", given, columns)


@click.command(
    "latency",
    cls=Command,
    **examples(
        ("brokersim bench latency", "500 jobs, timed per entry and in one slot"),
    ),
)
@click.option("--timing", type=click.Choice(["entry", "aux", "both"]), default="both", help="[both]")
@click.option("--flush", type=DURATION, metavar="FSD", help="of the aggregator  [1s]")
@click.option("--cache-bytes", type=click.IntRange(0), metavar="N", help="kept by the cache  [8388608]")
@shared()
@pass_session
def latency(session: Session, /, timing: str, **given: Any) -> int | None:
    """Content loads and stores: percentiles of all samples and of windows."""
    if timing != "both":
        given["timings"] = (timing,)
    columns = (
        ("timing", "timing", ""), ("operation", "operation", ""), ("count", "count", ",d"),
        ("mean ms", "mean", ".3f"), ("p50", "p50", ".3f"), ("p95", "p95", ".3f"), ("p99", "p99", ".3f"),
        ("p99 of windows", "p99_windows", ".3f"), ("min", "min", ".3f"), ("max", "max", ".3f"),
        ("under way", "in_flight_max", "d"),
    )  # fmt: skip
    return conduct(session, "latency", given, columns)


@click.command(
    "period",
    cls=Command,
    **examples(
        ("brokersim bench period", "client period 0 and 1s, the journal's client and both cures"),
        ("brokersim bench period --fix none --periods 0,0.1s,1s", "the journal's client alone"),
    ),
)
@click.option("--periods", type=DURATIONS, metavar="LIST", help="of the client  [0,1s]")
@click.option("--fix", type=click.Choice(["none", "skip-zero", "totals", "all"]), default="all", help="[all]")
@click.option("--flush", type=DURATION, metavar="FSD", help="of the aggregator  [1s]")
@shared(unlisted=("reps", "plot"))
@pass_session
def period(session: Session, /, fix: str, **given: Any) -> int | None:
    """Client aggregation off and on: why RUN goes below 0, and what cures it."""
    if fix != "all":
        given["fixes"] = (fix,)
    columns = (
        ("period s", "period_s", "g"), ("fix", "fix", ""), ("packets", "packets", ",d"), ("lines", "lines", ",d"),
        ("RUN 0-lines", "run_zero_lines", "d"), ("lowest", "run_lowest", ".0f"), ("below 0", "run_below_0", "d"),
        ("end", "run_end", ".0f"), ("CLEANUP 0-lines", "cleanup_zero_lines", "d"),
        ("lowest", "cleanup_lowest", ".0f"), ("below 0", "cleanup_below_0", "d"), ("end", "cleanup_end", ".0f"),
        ("NEW end", "new_end", ",.0f"),
    )  # fmt: skip
    return conduct(session, "period", given, columns)


@click.command(
    "resolution",
    cls=Command,
    **examples(
        ("brokersim bench resolution", "1,000 jobs on 8 brokers: which stage limits the curve"),
        ("brokersim bench resolution --retentions 60s,1s --flushes 10s,1s", "other stages"),
    ),
)
@click.option("--timers", type=DURATIONS, metavar="LIST", help="of the plugin  [0.1s,0.025s]")
@click.option("--flushes", type=DURATIONS, metavar="LIST", help="of the aggregator  [1s,0.1s]")
@click.option("--retentions", type=DURATIONS, metavar="LIST", help="of the store  [6s,1s,0.1s]")
@click.option("-s", "--size", type=COUNT, metavar="N", help="brokers of 12 cores  [8]")
@shared(without=("size",), unlisted=("reps", "plot"))
@pass_session
def resolution(session: Session, /, **given: Any) -> int | None:
    """Plugin timer x aggregator flush x retention: errors of the curves."""
    columns = (
        ("timer s", "timer_s", "g"), ("flush s", "flush_s", "g"), ("retention s", "retention_s", "g"),
        ("slowest s", "slowest_s", "g"), ("points", "points", "d"), ("error", "error", ".1%"),
        ("SCHED", "sched_error", ".1%"), ("INACTIVE", "inactive_error", ".1%"), ("RUN", "run_error", ".1%"),
        ("CLEANUP", "cleanup_error", ".1%"), ("SCHED max", "sched_max", ".1%"),
    )  # fmt: skip
    return conduct(session, "resolution", given, columns)


@click.command(
    "aggregator",
    cls=Command,
    **examples(
        ("brokersim bench aggregator", "10,000 lines into each dialect, bounded and not"),
        ("brokersim bench aggregator --full", "the journal's 100,000"),
    ),
)
@click.option("--lines", type=COUNT, metavar="N", help="of a flood  [10000]")
@click.option("--dialects", type=WORDS, metavar="LIST", help="[collectd,brubeck,etsy,strict]")
@click.option("--flush", type=DURATION, metavar="FSD", help="of the server  [0.1s]")
@click.option("--limit", type=click.FloatRange(1), metavar="N", help="new series a minute, carbon's  [50]")
@shared(unlisted=("jobs", "clock", "reps"))
@pass_session
def aggregator(session: Session, /, **given: Any) -> int | None:
    """A flood: offered, received, dropped; traps, and what the lint finds."""
    columns = (
        ("dialect", "dialect", ""), ("sender", "sender", ""), ("offered", "offered", ",d"),
        ("received", "received", ",d"), ("dropped", "dropped", ",d"), ("in the store", "shown", ",.0f"),
        ("buffer bytes", "buffer_bytes", ",d"), ("wall s", "wall_s", ".2f"), ("lines/s", "lines_per_s", ",.0f"),
        ("stored as", "graphite", ""),
    )  # fmt: skip
    return conduct(session, "aggregator", given, columns)


@click.command(
    "modules",
    cls=Command,
    **examples(
        ("brokersim bench modules", "each module's messages per job"),
    ),
)
@shared(unlisted=("clock",))
@pass_session
def modules(session: Session, /, **given: Any) -> int | None:
    """Each module's counters per job and its metrics over time."""
    from brokersim.protocol.message import COUNTER_NAMES

    counters = [(name, name, ".1f") for name in COUNTER_NAMES]
    columns = [
        ("module", "module", ""),
        *counters,
        ("iterations", "iterations", ",d"),
        ("packets", "packets", ",d"),
    ]
    return conduct(session, "modules", given, columns)


@click.command(
    "overhead",
    cls=Command,
    **examples(
        ("brokersim bench overhead", "each hook, masks off and on, modelled costs"),
        ("brokersim bench overhead --clock real --reps 5", "measured, in shuffled order, with intervals"),
    ),
)
@shared()
@pass_session
def overhead(session: Session, /, **given: Any) -> int | None:
    """What a hook costs in wall time, beside the journal's."""
    columns = (
        ("hook", "hook", ""), ("masks", "masks", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".2f"),
        ("packets", "packets", ",d"), ("cpu s", "cpu_s", ".2f"), ("overhead", "overhead", "+.1%"),
        ("low", "low", "+.1%"), ("high", "high", "+.1%"), ("journal", "journal", "+.1%"),
    )  # fmt: skip
    return conduct(session, "overhead", given, columns)


@click.command(
    "decay",
    cls=Command,
    **examples(
        ("brokersim bench decay", "200 serial jobs in ten blocks under each model"),
    ),
)
@click.option("--blocks", type=click.IntRange(2), metavar="N", help="they are counted in  [10]")
@click.option(
    "--factor", type=click.FloatRange(1), metavar="F", help="dearer at the end, for the models  [4]"
)
@shared(unlisted=("clock", "reps"))
@pass_session
def decay(session: Session, /, **given: Any) -> int | None:
    """Does it slow down as jobs pile up? Models: none, linear, store."""
    columns = (
        ("model", "model", ""), ("block", "block", "d"), ("jobs", "jobs", "d"), ("wall s", "wall_s", ".2f"),
        ("jobs/s", "jobs_per_s", ".2f"), ("metrics/s", "metrics_per_s", ",.0f"),
    )  # fmt: skip
    return conduct(session, "decay", given, columns)
