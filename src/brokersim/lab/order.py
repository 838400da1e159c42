"""Knows what is wanted of one experiment, from its plan to where its result goes, and carries it out; prints nothing.

A door reads what a person said into an `Order` once; from there on nothing returns to the door but the `Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from brokersim.lab.experiments.experiment import Experiment, one_of, repeated
from brokersim.lab.keep.baseline import BaselineError, Difference, compare
from brokersim.lab.keep.files import write_files
from brokersim.lab.keep.kept import KeptError, keep, read_kept
from brokersim.lab.keep.parts import NOWHERE, PartFile, Parts, PartsError, names_in
from brokersim.lab.measure.profiles import DEFAULT, PROFILES, Profile, read_profile
from brokersim.lab.result import Result, Say, silent
from brokersim.lab.sweep.arrays import Share
from brokersim.lab.sweep.sweep import RunFileError, cores
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
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

    def to_json(self) -> JsonObject:
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


def carry_out(wanted: Order, say: Say = silent, shares: Sequence[Path] = ()) -> Outcome:
    """Run it, keep what it found, hold it against the baseline.

    ``shares`` are the files of an array job's elements: what they have done is not done again.

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
        for share in shares:
            file.take_over(share)
        outcome = kept(_found(wanted, say, Parts(file)), wanted.places, wanted.before)
        file.remove()
    return attrs.evolve(outcome, done_before=file.before)


def words_of(wanted: Order) -> list[str]:
    """The command of an order whose plan is kept in a file of its own beside its database; empty for others."""
    array, database = wanted.experiment.array, wanted.places.database
    # Absolute, since an element starts where its engine likes.
    return [] if array is None or database is None else array.words(wanted.plan, database.absolute())


def left(wanted: Order) -> int:
    """How many units or repetitions of a run with a database are not done. Raises OrderError."""
    assert wanted.places.database is not None
    if wanted.experiment.array is None:
        return len(_reps_left(wanted))
    try:
        return wanted.experiment.array.left(wanted.plan, wanted.places.database)
    except RunFileError as error:
        raise OrderError(str(error)) from None


def _reps_left(wanted: Order) -> list[int]:
    assert wanted.places.database is not None
    try:
        done = names_in(wanted.places.database)
    except PartsError as error:
        raise OrderError(str(error)) from None
    return [rep for rep in range(wanted.reps) if _mark(rep) not in done]


def carry_out_share(wanted: Order, share: Share, say: Say = silent) -> str:
    """An array job's element: its share of what is left, kept in a file of its own; a line on what that was.

    Raises what `carry_out` does.
    """
    whole = wanted.places.database
    assert whole is not None
    if wanted.experiment.array is not None:
        try:
            return wanted.experiment.array.element(wanted.plan, whole, share, say)
        except RunFileError as error:
            raise OrderError(str(error)) from None
    reps = _reps_left(wanted)
    mine = [reps[at] for at in share.span(len(reps))]
    workers = wanted.workers or cores()
    with _part_file(wanted, share.path(whole)) as file:
        for rep in mine:
            if not file.read(_mark(rep)):
                say(f"run {rep + 1} of {wanted.reps}")
                one_of(wanted.experiment, wanted.plan, rep, say, workers, Parts(file))
                file.write(_mark(rep), True)
    share.mark(whole).touch()
    return f"{share.path(whole)}: {len(mine)} of {counted(wanted.reps, 'run')}"


def take_over(wanted: Order, share: Path) -> None:
    """What an element has done is kept with the whole. Raises OrderError."""
    assert wanted.places.database is not None
    if wanted.experiment.array is not None:
        wanted.experiment.array.take_over(wanted.places.database)
        return
    with _part_file(wanted, wanted.places.database) as file:
        file.take_over(share)


def _mark(rep: int) -> str:
    """The unit that says that a repetition is whole."""
    return f"whole run {rep}"


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
