"""Knows what a check is to do: a baseline, laws, an instance like the baseline's; what was asked, made sure of.

Doesn't run anything. Nothing has happened when a plan cannot be made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from brokersim import files
from brokersim.kit.baseline import Baseline, BaselineError, parse_percent, read_baseline
from brokersim.kit.cost import CostBound
from brokersim.kit.laws import LAWS, Relaxation, find_law, parse_relaxations
from brokersim.net.options import StartOptions
from brokersim.protocol.ranks import parse_ranks
from brokersim.protocol.settings import SIMULATED, ClockKind

#: Settings of a baseline that a check takes over unless told otherwise.
KEPT: Final = ("size", "clock", "seed", "hook", "resources", "jobs", "modules")
#: Runs a baseline is recorded from in real time: what differs between them is not compared.
REAL_RUNS: Final = 5
#: Runs that one check may have: each takes a second, and all of their counters are held at the end.
MOST_RUNS: Final = 100_000


class CheckError(Exception):
    """What was asked for cannot be: what, and as far as they are known a hint and what would be right."""

    def __init__(self, what: str, *, hint: str = "", attempt: str = "") -> None:
        super().__init__(what)
        self.hint = hint
        self.attempt = attempt


@attrs.frozen(kw_only=True)
class Asked:
    """What a person asked for, as text: files, laws, tolerances (glob, percent), relaxations (law, reason).

    ``settings`` are those of ``KEPT`` that were given; ``laws`` is ``all``, ``none``
    or a list; ``seeds`` such as ``0-9``.
    """

    command: tuple[str, ...] = ()
    record: str | None = None
    against: str | None = None
    tolerances: Sequence[tuple[str, str]] = ()
    per: str = ""
    laws: str = "all"
    relax: Sequence[tuple[str, str]] = ()
    runs: int | None = None
    seeds: str | None = None
    max_cost: str | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    folders: Sequence[str] = ()


@attrs.frozen
class Point:
    """One run of a check: its seed, and which of the runs with that seed."""

    seed: int
    run: int = 0

    def __str__(self) -> str:
        return f"seed {self.seed}, run {self.run + 1}"


@attrs.frozen(kw_only=True)
class CheckPlan:
    """A check, ready to run: so many ``runs`` for each of the ``seeds``.

    ``edited`` is what people wrote into the baseline that is recorded anew.
    """

    options: StartOptions
    laws: tuple[str, ...]
    relaxed: Mapping[str, Relaxation]
    baseline: Baseline | None
    edited: Baseline | None
    record: Path | None
    per: str
    runs: int
    seeds: tuple[int, ...]
    max_cost: CostBound | None = None

    @property
    def points(self) -> tuple[Point, ...]:
        """All of its runs, in their order."""
        return tuple(Point(seed, run) for seed in self.seeds for run in range(self.runs))


def plan_check(asked: Asked) -> CheckPlan:
    """Read the files and settle the settings. Raises CheckError."""
    baseline = _baseline(asked)
    relaxed = {**({} if baseline is None else baseline.relaxed), **_relaxed(asked.relax)}
    edited = None if asked.record is None else _edited(asked.record) or baseline
    options = _options(asked, baseline or edited)
    if baseline is not None and asked.per and asked.per not in baseline.operations:
        known = ", ".join(baseline.operations) or "none"
        raise CheckError(f"no operation {asked.per!r} in the baseline; it has {known}")
    # Judging takes one run; only a record has to know what varies.
    several = REAL_RUNS if asked.record is not None and options.clock != "virtual" else 1
    return CheckPlan(
        options=options,
        laws=_laws(asked.laws),
        relaxed=relaxed,
        baseline=baseline,
        edited=edited,
        record=None if asked.record is None else Path(asked.record),
        per=asked.per,
        runs=asked.runs or several,
        seeds=_seeds(asked, options.seed, asked.runs or several),
        max_cost=None if asked.max_cost is None else _max_cost(asked.max_cost, options),
    )


def _seeds(asked: Asked, own: int, runs: int) -> tuple[int, ...]:
    if asked.seeds is None:
        return (own,)
    if asked.settings.get("seed") is not None:
        raise CheckError("--seed and --seeds exclude each other", attempt=f"--seeds {asked.seeds}")
    try:
        found = tuple(parse_ranks(asked.seeds, MOST_RUNS))
    except ValueError:
        raise CheckError(
            f"--seeds: not seeds below {MOST_RUNS}: {asked.seeds!r:.60}", attempt="--seeds 0-9,15"
        ) from None
    if len(found) * runs > MOST_RUNS:
        raise CheckError(f"--seeds and --runs make {len(found) * runs} runs; there may be {MOST_RUNS}")
    return found


def _max_cost(text: str, options: StartOptions) -> CostBound:
    if ClockKind.parse(options.clock).is_virtual:
        raise CheckError(
            "--max-cost bounds processor time, which the virtual clock does not know",
            attempt=f"--clock real --max-cost '{text}'",
        )
    try:
        return CostBound.parse(text)
    except ValueError as error:
        raise CheckError(f"--max-cost: {error}") from None


def _baseline(asked: Asked) -> Baseline | None:
    try:
        more = {glob: parse_percent(text) for glob, text in asked.tolerances}
    except ValueError as error:
        raise CheckError(f"--tolerance: {error}", attempt="--tolerance 'kvs.*.request_rx=2%'") from None
    if asked.against is None:
        if more or asked.per:
            raise CheckError(
                "--tolerance and --per compare with a baseline", hint="name it with --against FILE"
            )
        return None
    found = _read(asked.against)
    return attrs.evolve(found, tolerances={**found.tolerances, **more})


def _laws(text: str) -> tuple[str, ...]:
    if text == "all":
        return tuple(LAWS)
    try:
        return () if text == "none" else tuple(find_law(name.strip()).name for name in text.split(","))
    except ValueError as error:
        raise CheckError(f"--laws: {error}") from None


def _relaxed(given: Sequence[tuple[str, str]]) -> Mapping[str, Relaxation]:
    try:
        return parse_relaxations(dict(given))
    except ValueError as error:
        raise CheckError(f"--relax: {error}") from None


def _options(asked: Asked, baseline: Baseline | None) -> StartOptions:
    """What was asked, then the baseline's settings, then ours: virtual time, seed 0, the shipped modules.

    Neither a configuration file nor the environment counts, but for the folders of modules: a baseline must mean
    the same wherever it is run.
    """
    kept = {} if baseline is None else {name: baseline.settings.get(name) for name in KEPT}
    if baseline is not None:
        kept["jobs"] = kept["jobs"] or SIMULATED  # files from when there was no other kind
    settings: dict[str, Any] = {"clock": "virtual", "command": asked.command}
    for table in (kept, asked.settings):
        settings |= {name: value for name, value in table.items() if value is not None}
    if not settings["command"] and baseline is not None:
        settings["command"] = baseline.command
    if not settings["command"]:
        raise CheckError("check runs a command", attempt="brokersim check --record FILE -- CMD")
    if "modules" in settings:
        settings["modules"] = tuple(settings["modules"])
    try:
        return StartOptions(**settings, module_path=tuple(Path(one).expanduser() for one in asked.folders))
    except (TypeError, AttributeError):
        raise CheckError(f"{asked.against or asked.record}: [run] has a setting of the wrong kind") from None
    except ValueError as error:
        raise CheckError(str(error), attempt="brokersim check --help") from None


def _edited(file: str) -> Baseline | None:
    """The baseline that stands there already: what people edited in it is kept."""
    return _read(file) if Path(file).exists() else None


def _read(file: str) -> Baseline:
    again = f"brokersim check --record {file} -- CMD"
    try:
        return read_baseline(files.read_text(file), file)
    except OSError as error:
        raise CheckError(f"{file}: {error.strerror}", attempt=again) from None
    except BaselineError as error:
        raise CheckError(str(error), attempt=f"mend it, or remove it and: {again}") from None
