"""Knows the options of the journal's smaller experiments; not how they run (lab) or how they are printed.

One story told seven times, so it is one file: options become a frozen Plan, the lab runs it, columns are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from brokersim.cli.bench_output import clock, common, progress, show
from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION

JOBS = click.IntRange(1)


@click.command(
    "states",
    cls=Command,
    **examples(
        ("brokersim bench states", "500 jobs, the plugin as it was and cured"),
        ("brokersim bench states --full --out states", "the journal's 10,000; a page of plots"),
    ),
)
@click.option("--jobs", type=JOBS, default=500, metavar="N", help="submitted at once  [500]")
@click.option("--timer", type=DURATION, default="1s", metavar="FSD", help="of the plugin  [1s]")
@click.option("--flush", type=DURATION, default="1s", metavar="FSD", help="of the aggregator  [1s]")
@click.option("--tail", type=DURATION, default="10s", metavar="FSD", help="after the last job  [10s]")
@click.option("--full", is_flag=True, help="as in the journal: 10,000 jobs, flush 10s, until 370 sends")
@clock
@common
@pass_session
def states(session: Session, /, full: bool, out: Path | None, plot: str, **given: Any) -> None:
    """Job-state curves against the truth; NEW sinking, and cured."""
    from brokersim.lab.states import Plan
    from brokersim.lab.states import states as run

    if full:
        given |= {"jobs": 10_000, "flush": 10.0, "tail": 261.0}
    columns = (
        ("form", "form", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".1f"),
        ("packets", "packets", ",d"), ("NEW end", "new_end", ",.0f"), ("SCHED end", "sched_end", ",.0f"),
        ("INACTIVE end", "inactive_end", ",.0f"), ("RUN max", "run_highest", ".0f"),
        ("true", "run_true_highest", "d"), ("CLEANUP max", "cleanup_highest", ".0f"),
        ("true", "cleanup_true_highest", "d"),
    )  # fmt: skip
    show(session, lambda: run(Plan(**given), progress(session)), columns, out, plot)


@click.command(
    "idle",
    cls=Command,
    **examples(
        ("brokersim bench idle", "a minute under each hook, without and with a job that prints"),
        ("brokersim bench idle --background-job 0 --seconds 20s", "nothing but heartbeats"),
    ),
)
@click.option("--seconds", type=DURATION, default="1m", metavar="FSD", help="observed under each hook  [1m]")
@click.option(
    "--background-job", "background", type=click.FloatRange(0, 1000), default=1.55, metavar="RATE",
    help="lines a second of the chatty job, 0 for none  [1.55]",
)  # fmt: skip
@common
@pass_session
def idle(session: Session, /, out: Path | None, plot: str, **given: Any) -> None:
    """An instance at rest: what moves, under each hook."""
    from brokersim.lab.idle import Plan
    from brokersim.lab.idle import idle as run

    columns = (
        ("", "rest", ""), ("hook", "hook", ""), ("messages", "messages", ",d"), ("packets", "packets", ",d"),
        ("metrics/s", "metrics_per_s", ".1f"), ("scatter (CV)", "cv", ".2f"),
        ("packets/message", "packets_per_message", ".2f"), ("commits", "commits", ",d"),
    )  # fmt: skip
    show(session, lambda: run(Plan(**given), progress(session)), columns, out, plot)


@click.command(
    "latency",
    cls=Command,
    **examples(
        ("brokersim bench latency", "500 jobs, timed per entry and in one slot"),
    ),
)
@click.option("--jobs", type=JOBS, default=500, metavar="N", help="submitted at once  [500]")
@click.option("--timing", type=click.Choice(["entry", "aux", "both"]), default="both", help="[both]")
@click.option("--flush", type=DURATION, default="1s", metavar="FSD", help="of the aggregator  [1s]")
@click.option(
    "--cache-bytes", type=click.IntRange(0), default=8 << 20, metavar="N", help="kept by the cache  [8388608]"
)
@clock
@common
@pass_session
def latency(session: Session, /, timing: str, out: Path | None, plot: str, **given: Any) -> None:
    """Content loads and stores: percentiles of all samples beside those of windows."""
    from brokersim.lab.latency import TIMINGS, Plan
    from brokersim.lab.latency import latency as run

    chosen = TIMINGS if timing == "both" else (timing,)
    columns = (
        ("timing", "timing", ""), ("operation", "operation", ""), ("count", "count", ",d"),
        ("mean ms", "mean", ".3f"), ("p50", "p50", ".3f"), ("p95", "p95", ".3f"), ("p99", "p99", ".3f"),
        ("p99 of windows", "p99_windows", ".3f"), ("min", "min", ".3f"), ("max", "max", ".3f"),
        ("under way", "in_flight_max", "d"),
    )  # fmt: skip
    show(session, lambda: run(Plan(timings=chosen, **given), progress(session)), columns, out, plot)


@click.command(
    "period",
    cls=Command,
    **examples(
        ("brokersim bench period", "client period 0 and 1s, the journal's client and both cures"),
        ("brokersim bench period --fix none --periods 0,0.1s,1s", "the journal's client alone"),
    ),
)
@click.option("--jobs", type=JOBS, default=500, metavar="N", help="submitted at once, twice  [500]")
@click.option("--periods", default="0,1s", metavar="LIST", help="of the client  [0,1s]")
@click.option("--fix", type=click.Choice(["none", "skip-zero", "totals", "all"]), default="all", help="[all]")
@click.option("--flush", type=DURATION, default="1s", metavar="FSD", help="of the aggregator  [1s]")
@click.option("--full", is_flag=True, help="as in the journal: 2 x 10,000 jobs")
@common
@pass_session
def period(
    session: Session, /, periods: str, fix: str, full: bool, out: Path | None, plot: str, **given: Any
) -> None:
    """Client aggregation off and on: why RUN goes below 0, and what cures it."""
    from brokersim.lab.period import FIXES, Plan
    from brokersim.lab.period import period as run
    from brokersim.protocol.duration import parse_duration

    if full:
        given["jobs"] = 10_000

    def experiment() -> dict[str, Any]:
        lengths = tuple(parse_duration(one) for one in periods.split(","))
        chosen = FIXES if fix == "all" else (fix,)
        return run(Plan(periods=lengths, fixes=chosen, **given), progress(session))

    columns = (
        ("period s", "period_s", "g"), ("fix", "fix", ""), ("packets", "packets", ",d"), ("lines", "lines", ",d"),
        ("RUN 0-lines", "run_zero_lines", "d"), ("lowest", "run_lowest", ".0f"), ("below 0", "run_below_0", "d"),
        ("end", "run_end", ".0f"), ("CLEANUP 0-lines", "cleanup_zero_lines", "d"),
        ("lowest", "cleanup_lowest", ".0f"), ("below 0", "cleanup_below_0", "d"), ("end", "cleanup_end", ".0f"),
        ("NEW end", "new_end", ",.0f"),
    )  # fmt: skip
    show(session, experiment, columns, out, plot)


@click.command(
    "modules",
    cls=Command,
    **examples(
        ("brokersim bench modules", "each module's messages per job"),
    ),
)
@click.option("--jobs", type=JOBS, default=100, metavar="N", help="one after the other  [100]")
@common
@pass_session
def modules(session: Session, /, out: Path | None, plot: str, **given: Any) -> None:
    """Each module's counters per job and its metrics over time."""
    from brokersim.lab.modules_panel import Plan
    from brokersim.lab.modules_panel import modules as run
    from brokersim.protocol.message import COUNTER_NAMES

    counters = [(name, name, ".1f") for name in COUNTER_NAMES]
    columns = [
        ("module", "module", ""),
        *counters,
        ("iterations", "iterations", ",d"),
        ("packets", "packets", ",d"),
    ]
    show(session, lambda: run(Plan(**given), progress(session)), columns, out, plot)


@click.command(
    "overhead",
    cls=Command,
    **examples(
        ("brokersim bench overhead", "each hook, masks off and on, modelled costs"),
        ("brokersim bench overhead --clock real --reps 5", "measured, in shuffled order, with intervals"),
    ),
)
@click.option("--jobs", type=JOBS, default=100, metavar="N", help="one after the other  [100]")
@click.option("--reps", type=click.IntRange(1), default=1, metavar="N", help="runs a hook in real time  [1]")
@clock
@common
@pass_session
def overhead(session: Session, /, out: Path | None, plot: str, **given: Any) -> None:
    """What a hook costs in wall time, beside the journal's."""
    from brokersim.lab.overhead import Plan
    from brokersim.lab.overhead import overhead as run

    columns = (
        ("hook", "hook", ""), ("masks", "masks", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".2f"),
        ("packets", "packets", ",d"), ("cpu s", "cpu_s", ".2f"), ("overhead", "overhead", "+.1%"),
        ("low", "low", "+.1%"), ("high", "high", "+.1%"), ("journal", "journal", "+.1%"),
    )  # fmt: skip
    show(session, lambda: run(Plan(**given), progress(session)), columns, out, plot)


@click.command(
    "decay",
    cls=Command,
    **examples(
        ("brokersim bench decay", "200 serial jobs in ten blocks under each model"),
    ),
)
@click.option("--jobs", type=click.IntRange(2), default=200, metavar="N", help="one after the other  [200]")
@click.option("--blocks", type=click.IntRange(2), default=10, metavar="N", help="they are counted in  [10]")
@click.option(
    "--factor",
    type=click.FloatRange(1),
    default=4.0,
    metavar="F",
    help="dearer at the end, for the models  [4]",
)
@common
@pass_session
def decay(session: Session, /, out: Path | None, plot: str, **given: Any) -> None:
    """Does it slow down as jobs pile up? Models: none, linear, store."""
    from brokersim.lab.decay import Plan
    from brokersim.lab.decay import decay as run

    columns = (
        ("model", "model", ""), ("block", "block", "d"), ("jobs", "jobs", "d"), ("wall s", "wall_s", ".2f"),
        ("jobs/s", "jobs_per_s", ".2f"), ("metrics/s", "metrics_per_s", ",.0f"),
    )  # fmt: skip
    show(session, lambda: run(Plan(**given), progress(session)), columns, out, plot)
