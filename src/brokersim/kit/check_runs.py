"""Knows the runs that a check is made of, by seed and repetition, and how an array job shares them. Judges nothing.

A run is kept as plain values in a file of parts until all are gathered; what is judged, and against what, is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from brokersim.kit.baseline import Baseline
from brokersim.kit.check_plan import CheckPlan, Point
from brokersim.kit.checked_run import CheckedRun, run_checked
from brokersim.kit.cost import Used
from brokersim.kit.laws import Violation, find_law
from brokersim.lab.keep.parts import NOWHERE, PartFile, Parts, names_in
from brokersim.lab.sweep.arrays import Share
from brokersim.protocol.decoded import JsonObject
from brokersim.version import VERSION

#: What people write into a baseline; no run has it.
_WRITTEN = ("varying", "tolerances", "relaxed")


@attrs.frozen(kw_only=True)
class Gathered:
    """Where an array job for a check has put its runs: the whole's place, and the files of its elements."""

    place: Path
    shares: Sequence[Path]


def left(plan: CheckPlan, place: Path) -> list[Point]:
    """The points that nobody has run. Raises PartsError."""
    done = names_in(place)
    return [point for point in plan.points if str(point) not in done]


def carry_out_share(plan: CheckPlan, place: Path, share: Share, timeout: float | None = None) -> int:
    """An array job's element: its share of what is left, kept in a file of its own; how many runs that were.

    Raises PartsError, and what `run_checked` does.
    """
    points = left(plan, place)
    mine = [points[at] for at in share.span(len(points))]
    with _part_file(plan, share.path(place)) as file:
        for point in mine:
            run_point(plan, point, Parts(file), timeout)
    share.mark(place).touch()
    return len(mine)


def take_over(plan: CheckPlan, place: Path, share: Path) -> None:
    """What an element has run is kept with the whole. Raises PartsError."""
    with _part_file(plan, place) as file:
        file.take_over(share)


def forget(place: Path) -> None:
    """What is left of an array job that was given up goes: it may be of modules as they were then."""
    place.with_name(f"{place.name}.part").unlink(missing_ok=True)


@contextmanager
def gathered_parts(plan: CheckPlan, gathered: Gathered | None) -> Iterator[Parts]:
    """The runs that an array job has made, for the time they are judged; then they go. Raises PartsError."""
    if gathered is None:
        yield NOWHERE
        return
    with _part_file(plan, gathered.place) as file:
        for share in gathered.shares:
            file.take_over(share)
        yield Parts(file)
        file.remove()


@contextmanager
def _part_file(plan: CheckPlan, place: Path) -> Iterator[PartFile]:
    asked = attrs.evolve(plan.options, seed=0)
    what = repr(("check", asked, plan.points, plan.laws, sorted(plan.relaxed.items()), VERSION))
    file = PartFile(place, what, "brokersim check")
    try:
        yield file
    finally:
        file.close()


def run_point(
    plan: CheckPlan, point: Point, parts: Parts = NOWHERE, timeout: float | None = None
) -> CheckedRun:
    """One run, made now or taken from the parts. Raises PartsError, and what `run_checked` does."""

    def run() -> JsonObject:
        options = attrs.evolve(plan.options, seed=point.seed)
        return _to_plain(run_checked(options, plan.laws, plan.relaxed, timeout))

    return _from_plain(parts.once(str(point), run))


def _to_plain(run: CheckedRun) -> JsonObject:
    counted = attrs.asdict(run.counted, recurse=False)
    return {
        "code": run.code,
        "counted": {name: value for name, value in counted.items() if name not in _WRITTEN},
        "violations": [(one.law.name, one.places, one.allowed) for one in run.violations],
        "used": attrs.asdict(run.used),
    }


def _from_plain(kept: JsonObject) -> CheckedRun:
    return CheckedRun(
        code=kept["code"],
        counted=Baseline(**kept["counted"]),
        violations=tuple(
            Violation(law=find_law(name), places=tuple(places), allowed=allowed)
            for name, places, allowed in kept["violations"]
        ),
        used=Used(**kept["used"]),
    )
