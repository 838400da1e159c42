"""Knows the experiments' options and how their figures are printed; not how they are run (lab)."""

from __future__ import annotations

import sys
from typing import Any

import click

from brokersim.cli.command import Command, Group, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION

_SMALLER = ("states", "idle", "latency", "period", "modules", "overhead", "decay")
_LAZY = {name: f"brokersim.cli.bench_experiments:{name}" for name in _SMALLER}
_LAZY["intervals"] = "brokersim.cli.bench_intervals:intervals"


#: Jobs in all below which processes for the runs would cost more than they save.
_WORTH_A_PROCESS = 500


@click.group("bench", cls=Group, lazy=_LAZY)
def bench() -> None:
    """Experiments: what instrumentation costs and how far it is from the truth."""


@bench.command(
    "watchers",
    cls=Command,
    **examples(
        ("brokersim bench watchers", "200 serial jobs under each hook, real time"),
        ("brokersim bench watchers --jobs 1000 --clock virtual", "the same with modelled costs"),
        ("brokersim bench watchers --hooks none,prepare --reps 5", "two of them, medians of five"),
    ),
)
@click.option("--jobs", type=click.IntRange(1), default=200, metavar="N", help="serial jobs a run  [200]")
@click.option("--clock", type=click.Choice(["real", "virtual"]), default="real", help="[real]")
@click.option("--hooks", metavar="LIST", help="of none, timer:FSD, prepare, check, idle  [all]")
@click.option(
    "--reps", type=click.IntRange(1), default=1, metavar="N", help="runs a hook, the median is shown  [1]"
)
@click.option("-s", "--size", type=click.IntRange(1), default=1, metavar="N", help="brokers  [1]")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="[0]")
@click.option(
    "-t", "--run-time", type=DURATION, default="1ms", metavar="FSD", help="of a simulated job  [1ms]"
)
@list_options
@pass_session
def watchers(session: Session, /, hooks: str | None, **given: Any) -> None:
    """Run the same jobs under each hook: wall time, packets, overhead."""
    # Late: the lab brings in trio, which client commands must not pay for.
    from brokersim.lab.sweep import cores
    from brokersim.lab.watchers import HOOKS, Plan, counter_rows
    from brokersim.lab.watchers import watchers as run_watchers

    chosen = tuple(hooks.split(",")) if hooks else HOOKS
    try:
        plan = Plan(hooks=tuple(map(_checked, chosen)), **given)
        workers = cores() if plan.jobs * len(plan.hooks) >= _WORTH_A_PROCESS else 1
        say = _progress(session)
        found = run_watchers(plan, say, workers)
        say("")  # the line goes before the table comes
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim bench watchers -h") from None
    except (RuntimeError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
    if session.json:
        session.emit(found)
        return
    session.table(_TITLES, [_row(run) for run in found["runs"]])
    shown = "prepare" if "prepare" in chosen else chosen[-1]
    session.out(f"\ncounters of each module, hook {shown}")
    rows = counter_rows(found["modules"][shown])
    session.table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    meta = found["meta"]
    session.say(
        f"\nbrokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, {meta['clock']} clock, "
        f"{meta['jobs']} serial jobs, seed {meta['seed']}: compare order and ratios, not numbers with Flux's"
    )


_TITLES = (
    "hook", "wall s", "jobs/s", "messages", "iterations", "packets", "packets/message", "peak metrics/s", "cpu s",
    "overhead",
)  # fmt: skip


def _row(run: dict[str, Any]) -> tuple[object, ...]:
    overhead = run["overhead"]
    return (
        run["hook"],
        f"{run['wall_s']:.2f}",
        f"{run['jobs_per_s']:.1f}",
        f"{run['messages']:,}",
        f"{run['iterations']:,}",
        f"{run['packets']:,}",
        f"{run['packets_per_message']:.2f}",
        f"{run['metrics_per_s_peak']:,.0f}",
        "-" if run["cpu_s"] is None else f"{run['cpu_s']:.2f}",
        "-" if overhead is None or run["hook"] == "none" else f"{overhead * 100:+.1f} %",
    )


def _checked(hook: str) -> str:
    from brokersim.protocol.settings import check_hook

    if hook == "none":
        return hook
    try:
        return check_hook(hook)
    except ValueError as error:
        raise ValueError(f"--hooks: {error}, or none") from None


def _progress(session: Session) -> Any:
    """One line on a terminal's stderr, overwritten; nothing where nobody looks."""
    if session.quiet or not sys.stderr.isatty():
        return lambda _: None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
