"""Knows the options of `bench intervals` and how its answer is printed; not how it is found (lab)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from brokersim.cli.bench.broken_off import told_when_broken_off
from brokersim.cli.bench.made import LAUNCHERS, NOT_KEPT, PATH, failures, passed, places_of, preset_of
from brokersim.cli.bench.output import (
    FORMATS,
    agreement,
    check_lines,
    fold,
    print_differences,
    print_kept,
    progress,
)  # fmt: skip
from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.protocol.duration import format_duration
from brokersim.protocol.errnums import RequestError

if TYPE_CHECKING:
    from brokersim.lab.result import Result, Row
    from brokersim.lab.sweep.plan_file import SweepPlan

FOLDER = click.Path(path_type=Path, file_okay=False)
#: The journal's jobs. Of the combinations some are simulated: the law has the figures of all.
JOURNAL: dict[str, Any] = {"jobs": 10_000, "points": 12, "draws": 25}
_ATTEMPT = "brokersim bench intervals -h"


@click.command(
    "intervals",
    cls=Command,
    **examples(
        ("brokersim bench intervals", "how wrong each setting is, and which to use"),
        ("brokersim bench intervals --confirm", "the law checked on other workloads"),
    ),
)
@click.argument("plan_file", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="jobs of a run  [60]")
@click.option("--workload", metavar="LIST", help="of bulk, serial, burst, chatty  [bulk]")
@click.option("--seed", metavar="LIST", help="seeds  [0]")
@click.option("--points", type=click.IntRange(0), metavar="N", help="simulated as a check, 0: all  [3]")
@click.option("--full", is_flag=True, help="10,000 jobs, 12 simulated")
@click.option("--max-loss", metavar="SHARE", help="most overhead a recommendation may have  [1%]")
@click.option("--overhead", type=click.Choice(["predicted", "real"]), hidden=True)
@click.option("--confirm", is_flag=True, help="check the law on other workloads too")
@click.option("--db", type=PATH, metavar="RUN.db", help="keep the rows, go on with what is left")
@click.option("--out", type=FOLDER, metavar="DIR", help="keep result.json and plots")
@click.option("--plot", type=click.Choice(FORMATS), default="html", hidden=True)
@click.option("--launcher", type=click.Choice(LAUNCHERS), default="local", help="[local]")
@click.option("--baseline", type=PATH, metavar="RUN.db", help="compare with an earlier result")
@click.option("--gate", is_flag=True, help="exit 1 if it got worse")
@click.option("--preset", type=click.Choice(["small", "journal"]), hidden=True)
@click.option("--draws", type=click.IntRange(1), metavar="N", hidden=True)
@click.option("--reps", type=click.IntRange(1), metavar="N", hidden=True)
@click.option("--workers", type=click.IntRange(1), metavar="N", hidden=True)
@click.option("--tasks", type=click.IntRange(1), default=8, metavar="N", hidden=True)
@click.option("--submit", is_flag=True, hidden=True)
@click.option("--shard", metavar="I/N", hidden=True)
@click.option("-s", "--size", type=click.IntRange(1), hidden=True)
@click.option("--clock", type=click.Choice(["virtual", "real"]), hidden=True)
@list_options
@pass_session
def intervals(session: Session, /, **given: Any) -> int | None:
    """Which intervals give the truest curves, in seconds and by price."""
    _refuse(given)
    plan = _plan(given)
    if given["shard"]:
        _run_shard(session, plan, given)
    elif given["launcher"] != "local":
        _launch(session, plan, given)
    else:
        with told_when_broken_off(session, lambda: _kept_of(given["db"])):
            return _answer(session, plan, given)
    return None


def _kept_of(database: Path | None) -> str:
    if database is None:
        return NOT_KEPT
    return f"the rows found are kept in {database}; the same command goes on from there"


def _refuse(given: Mapping[str, Any]) -> None:
    """Common options that mean nothing here."""
    if given["clock"] == "real":
        raise usage_error(
            "--clock real: the truth is known under the virtual clock only; --overhead real measures the price",
            attempt=_ATTEMPT,
        )
    if given["size"] not in (None, 1):
        raise usage_error(
            "bench intervals has no --size: it looks at the rank of the job manager", attempt=_ATTEMPT
        )


# -- what is to be done


def _plan(given: Mapping[str, Any]) -> SweepPlan:
    """The file's plan, or the default one, with the options given put over it."""
    from brokersim.lab.sweep.plan_file import PlanError, SweepPlan, read_plan

    path = given["plan_file"]
    try:
        plan = SweepPlan() if path is None else read_plan(path.read_text(encoding="utf-8-sig"), str(path))
        if preset_of(given) == "journal":
            plan = attrs.evolve(plan, **JOURNAL)
        return _with_options(plan, given)
    except PlanError as error:
        raise usage_error(str(error), attempt=_ATTEMPT) from None
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"{path}: cannot be read: {error}", attempt=_ATTEMPT) from None


def _with_options(plan: SweepPlan, given: Mapping[str, Any]) -> SweepPlan:
    from brokersim.lab.sweep.plan_file import read_share, read_table

    changes: dict[str, Any] = {
        name: given[name] for name in ("jobs", "points", "draws") if given[name] is not None
    }
    if given["workload"]:
        changes |= read_table("sweep", {"workloads": given["workload"].split(",")}, "--workload")
    if given["seed"]:
        seeds = [int(word) if word.isdecimal() else word for word in given["seed"].split(",")]
        changes |= read_table("sweep", {"seeds": seeds}, "--seed")
    if given["max_loss"]:
        changes["max_loss"] = read_share(given["max_loss"], "--max-loss")
    price = {"kind": given["overhead"], "reps": given["reps"]}
    asked = {name: value for name, value in price.items() if value is not None}
    return attrs.evolve(plan, **changes, overhead=attrs.evolve(plan.overhead, **asked))


def _database(given: Mapping[str, Any], why: str) -> Path:
    if given["db"] is None:
        raise usage_error(f"{why} needs --db RUN.db, which all of its parts can reach", attempt=_ATTEMPT)
    path: Path = given["db"]
    return path


# -- ways of doing it


def _answer(session: Session, plan: SweepPlan, given: Mapping[str, Any]) -> int | None:
    from brokersim.lab.experiments.study import study
    from brokersim.lab.order import OrderError, gate, kept, read_baseline
    from brokersim.lab.sweep.sweep import RunFile, RunFileError, cores

    say = progress(session)
    try:
        # The sweep's file keeps its rows and its answer by itself.
        places = attrs.evolve(places_of(given), database=None)
        before = None if places.baseline is None else read_baseline(places.baseline)
        with closing(RunFile(given["db"])) as file:
            workers = given["workers"] or cores()
            found = study(plan, file, workers=workers, with_confirmation=given["confirm"], say=say)
        outcome = kept(found, places, before)
    except (RunFileError, OrderError) as error:
        raise usage_error(str(error), attempt=_ATTEMPT) from None
    except failures(RequestError) as error:
        raise CommandError(str(error), code=FAILED) from None
    finally:
        say("")
    print_kept(session, outcome.files)
    if session.json:
        session.emit(outcome.to_json())
    else:
        _print(session, found)
        print_differences(session, outcome.differences, given["baseline"])
    return passed(session, gate(outcome)) if given["gate"] else None


def _run_shard(session: Session, plan: SweepPlan, given: Mapping[str, Any]) -> None:
    from brokersim.lab.experiments.study import run_shard
    from brokersim.lab.sweep.sweep import RunFileError, Shard

    path = _database(given, "--shard")
    say = progress(session)
    try:
        shard = Shard.parse(given["shard"])
        rows = run_shard(plan, path, shard, say)
    except (ValueError, RunFileError) as error:
        raise usage_error(str(error), attempt=_ATTEMPT) from None
    except RequestError as error:
        raise CommandError(str(error), code=FAILED) from None
    session.say(f"{shard.path(path)}: {rows} new rows")


def _launch(session: Session, plan: SweepPlan, given: Mapping[str, Any]) -> None:
    from brokersim.lab.sweep.launchers import LaunchError, prepare, submit

    path = _database(given, f"--launcher {given['launcher']}")
    try:
        command = prepare(plan, given["launcher"], path, given["tasks"])
        session.out(submit(command) if given["submit"] else shlex.join(command))
    except (LaunchError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
    session.say(f"when it has run: brokersim bench intervals {path}.toml --db {path}")


# -- the answer

_TITLES = ("", "emission", "client", "flush", "keep", "s off", "known", "left", "worst", "pkt/s")
#: A bar of the picture, and the seconds at its ends.
_WIDTH, _FROM, _TO = 40, 0.1, 100.0


def _print(session: Session, found: Result) -> None:
    """The answer, its picture, the rows that matter, one line on the check."""
    rows, advice = found.runs, found.parts["advice"]
    session.out(f"{fold(advice['sentence'])}\n")
    for line in picture(rows):
        session.out(line)
    marks = {advice["journal"]: "journal", advice["cheap_store"]: "stores", advice["row"]: "sends"}
    least = min(rows, key=lambda row: row["off_s"])
    shown = [row for row in rows if row["id"] in (*marks, least["id"])]
    session.out("")
    session.table(_TITLES, [_cells(row, marks) for row in sorted(shown, key=lambda row: row["off_s"])])
    session.say("s off: mean over phases; known: how late, so by what to move it; left: off then")
    session.say(f"--json has all {len(rows)} combinations, --out DIR draws them")
    if found.checks:
        lines = check_lines(session, found.checks) if session.verbose else [fold(agreement(found.checks))]
        session.out("\n" + "\n".join(lines))
    _footer(session, found.meta)


def picture(rows: Sequence[Row]) -> list[str]:
    """Seconds off by flush and retention, from the best emission and client to the worst, on a logarithmic scale."""
    groups: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        groups.setdefault((row["retention"], row["flush"]), []).append(row["off_s"])
    lines = [f"{'keep':>6} {'flush':>6}  {_scale()}"]
    for (retention, flush), offs in sorted(groups.items()):
        first, last = _column(min(offs)), _column(max(offs))
        bar = (" " * first + "■" * (last - first + 1)).ljust(_WIDTH)
        stages = f"{format_duration(retention):>6} {format_duration(flush):>6}"
        lines.append(f"{stages}  {bar} {min(offs):.2g} to {max(offs):.2g} s")
    return lines


def _column(seconds: float) -> int:
    share = log10(max(seconds, _FROM) / _FROM) / log10(_TO / _FROM)
    return min(_WIDTH - 1, round(share * (_WIDTH - 1)))


def _scale() -> str:
    line = [" "] * (_WIDTH + 4)
    for seconds in (0.1, 1, 10, 100):
        text, at = f"{seconds:g}", _column(seconds)
        line[at : at + len(text)] = text
    return "".join(line).rstrip() + " s"


def _cells(row: Row, marks: Mapping[int | None, str]) -> tuple[object, ...]:
    return (
        marks.get(row["id"], ""),
        row["emission"],
        format_duration(row["period"]),
        format_duration(row["flush"]),
        format_duration(row["retention"]),
        f"{row['off_s']:.3g}",
        f"{row['lag_s']:+.3g}",
        f"{row['residual_s']:.3g}",
        f"{row['worst_s']:.3g}",
        f"{row['packets_per_s']:.1f}",
    )


def _footer(session: Session, meta: Mapping[str, Any]) -> None:
    plan = meta["plan"]
    session.say(
        fold(
            f"brokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, virtual clock, "
            f"overhead {meta['overhead']}, seeds {', '.join(map(str, plan['seeds']))}, {plan['draws']} draws: seconds "
            "are of any statsd chain; of packets and overhead compare order and ratios, not numbers with Flux's"
        )
    )
