"""Knows what is wanted of one experiment, from its plan to where its result goes, and carries it out; prints nothing.

A door reads what a person said into an `Order` once; from there on nothing returns to the door but the `Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from brokersim.lab.experiments.experiment import Experiment, repeated
from brokersim.lab.keep.baseline import BaselineError, Difference, compare
from brokersim.lab.keep.files import write_files
from brokersim.lab.keep.kept import KeptError, keep, read_kept
from brokersim.lab.keep.parts import NOWHERE, PartFile, Parts, PartsError
from brokersim.lab.measure.profiles import DEFAULT, PROFILES, Profile, read_profile
from brokersim.lab.result import Result, Say, silent
from brokersim.lab.sweep.sweep import RunFileError, cores
from brokersim.version import VERSION


class OrderError(ValueError):
    """What was asked for cannot be: what, and what would be right. Nothing was run."""


@attrs.frozen(kw_only=True)
class Places:
    """Where a result goes: a new run database, a folder with its files and pictures of a kind (html, svg, png, none).

    ``baseline`` is an earlier result to hold it against.
    """

    database: Path | None = None
    folder: Path | None = None
    pictures: str = "html"
    baseline: Path | None = None


@attrs.frozen(kw_only=True)
class Order:
    """One experiment, ready to run: ``before`` is the baseline, read by now. ``command`` is what a person typed."""

    experiment: Experiment[Any]
    plan: Any
    reps: int = 1
    places: Places = attrs.field(factory=Places)
    before: Result | None = None
    command: str = ""
    #: Whose costs are modelled; None where nothing is.
    costs: Profile | None = None
    #: Processes it may spread over; None is one a core.
    workers: int | None = None


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of an order. ``differences`` are those to the baseline, worse ones first; None without one."""

    result: Result
    differences: tuple[Difference, ...] | None = None
    files: tuple[Path, ...] = ()
    #: Parts of the run that an earlier life of it had done, before it was broken off.
    done_before: int = 0

    def to_json(self) -> dict[str, Any]:
        """The result, with the differences if there was a baseline."""
        document = self.result.to_json()
        if self.differences is not None:
            document["differences"] = [attrs.asdict(one) for one in self.differences]
        return document


def order(
    experiment: Experiment[Any],
    fields: Mapping[str, Any],
    *,
    preset: str = "small",
    reps: int | None = None,
    places: Places | None = None,
    command: str = "",
    cost: str | None = None,
    workers: int | None = None,
) -> Order:
    """Check what is wanted before anything is run: a mistyped name must not cost the run. Raises OrderError."""
    places = places or Places()
    if reps is not None and experiment.has_own_reps:
        fields = {**fields, "reps": reps}
    try:
        plan = experiment.make_plan(fields, preset)
        plan, costs = _costed(experiment, plan, cost)
    except ValueError as error:
        raise OrderError(str(error)) from None
    before = None if places.baseline is None else read_baseline(places.baseline)
    if places.database is not None and places.database.exists() and experiment.array is None:
        raise OrderError(
            f"{places.database} exists: a run database holds one run; choose a new name or move it away"
        )
    return Order(
        experiment=experiment,
        plan=plan,
        reps=reps or 1,
        places=places,
        before=before,
        command=command,
        costs=costs,
        workers=workers,
    )


def _costed(experiment: Experiment[Any], plan: Any, cost: str | None) -> tuple[Any, Profile | None]:
    """The plan with a profile's times, and whose they are. Raises ValueError."""
    if not experiment.has("cost") or plan.clock != "virtual":
        if cost is not None:
            raise ValueError(f"bench {experiment.name} has no --cost here: nothing is modelled in real time")
        return plan, None
    if cost is None:
        return plan, PROFILES[DEFAULT]
    profile = read_profile(cost)
    return attrs.evolve(plan, cost=profile.over(plan.cost)), profile


def read_baseline(path: Path) -> Result:
    """The earlier result. Raises OrderError."""
    try:
        return read_kept(path)
    except KeptError as error:
        raise OrderError(f"--baseline: {error}") from None
    except OSError as error:
        raise OrderError(f"--baseline {path}: {error.strerror}") from None


def carry_out(wanted: Order, say: Say = silent) -> Outcome:
    """Run it, keep what it found, hold it against the baseline.

    With a database each part is kept beside it as soon as it is done, until the whole is: the same order goes on where
    it was left. Raises OrderError for a plan that turns out not to be possible, a baseline or parts of another run;
    RuntimeError, OSError, PlotError or RunDatabaseError for what failed.
    """
    if wanted.places.database is None:
        return kept(_found(wanted, say, NOWHERE), wanted.places, wanted.before)
    if wanted.experiment.array is not None:
        found = _found(wanted, say, Parts(database=wanted.places.database))
        outcome = kept(found, attrs.evolve(wanted.places, database=None), wanted.before)
        return attrs.evolve(outcome, files=(wanted.places.database, *outcome.files))
    with _part_file(wanted, wanted.places.database) as file:
        outcome = kept(_found(wanted, say, Parts(file)), wanted.places, wanted.before)
        file.remove()
    return attrs.evolve(outcome, done_before=file.before)


@contextmanager
def _part_file(wanted: Order, database: Path) -> Iterator[PartFile]:
    made = (wanted.experiment.name, wanted.plan, wanted.reps, wanted.costs, VERSION)
    try:
        file = PartFile(database, repr(made), wanted.command)
    except PartsError as error:
        raise OrderError(str(error)) from None
    try:
        yield file
    finally:
        file.close()


def _found(wanted: Order, say: Say, parts: Parts) -> Result:
    try:
        found = repeated(wanted.experiment, wanted.plan, wanted.reps, say, wanted.workers or cores(), parts)
    except (ValueError, RunFileError) as error:
        raise OrderError(str(error)) from None
    if wanted.costs is not None:
        found = found.with_meta(costs=wanted.costs.name, costs_from=wanted.costs.origin)
    return found.with_meta(command=wanted.command) if wanted.command else found


def kept(found: Result, places: Places, before: Result | None = None) -> Outcome:
    """A result put where it goes and held against an earlier one. Raises what `carry_out` does."""
    files: list[Path] = []
    if places.database is not None:
        keep(found, places.database)
        files.append(places.database)
    if places.folder is not None:
        files += write_files([found], places.folder, places.pictures)
    return Outcome(result=found, differences=differences(found, before), files=tuple(files))


def differences(found: Result, before: Result | None) -> tuple[Difference, ...] | None:
    """To an earlier result of the same experiment; None without one. Raises OrderError for another's."""
    if before is None:
        return None
    try:
        return tuple(compare(found, before))
    except BaselineError as error:
        raise OrderError(f"--baseline: {error}") from None


def gate(outcome: Outcome) -> str:
    """Why it does not pass: it is worse than the baseline, or without one a check fails. Empty if it passes."""
    if outcome.differences is not None:
        worse = sum(one.is_worse for one in outcome.differences)
        return f"{worse} worse than the baseline" if worse else ""
    failed = outcome.result.failed()
    return f"{len(failed)} do not agree: {', '.join(failed)}" if failed else ""
