"""Knows what an experiment is: a value with its plan, run, options, columns, charts and verdict; runs none.

The commands of ``bench`` and the chapters of the journal's book are made from these values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.result import Result, Row, Say, silent
from brokersim.lab.show.chart import Chart
from brokersim.lab.sweep.arrays import Share
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.plurals import counted

PRESETS = ("small", "journal")
P = TypeVar("P")
Fields = JsonView


# -- options


@attrs.frozen
class Whole:
    """A whole number, at least ``least``."""

    least: int = 1


@attrs.frozen
class Number:
    """A number between two others."""

    least: float
    most: float | None = None
    #: ``least`` itself is too little.
    is_open: bool = False


@attrs.frozen
class Choice:
    """One of these words."""

    words: tuple[str, ...]


@attrs.frozen
class Flag:
    """Given or not."""


@attrs.frozen
class Read:
    """Text that a function reads; it raises ValueError saying what would be right. ``name`` is for people.

    ``words`` are the usual ones, which a shell offers.
    """

    name: str
    parse: Callable[[str], Any]
    words: tuple[str, ...] = ()


def _durations(text: str) -> tuple[float, ...]:
    return tuple(parse_duration(one) for one in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


DURATION = Read("FSD", parse_duration)
DURATIONS = Read("durations", _durations)
WORDS = Read("list", _words)


@attrs.frozen(kw_only=True)
class Option:
    """An option of one experiment, or what stands without a dash.

    ``to_fields`` makes fields of the Plan from its value, and may raise ValueError that says what would be right; None
    was not given.
    """

    names: tuple[str, ...]
    kind: Whole | Number | Choice | Flag | Read
    metavar: str | None = None
    help: str = ""
    is_hidden: bool = False
    default: Any = None
    #: The Plan's field, if it is not the option's own name.
    field: str = ""
    to_fields: Callable[[Any], Fields] | None = None

    @property
    def is_argument(self) -> bool:
        """It has no name on the command line."""
        return not self.names[0].startswith("-")

    @property
    def name(self) -> str:
        """As Python knows it: ``--run-time`` is ``run_time``."""
        return self.field or self.names[-1].lstrip("-").replace("-", "_")

    def fields(self, value: object) -> Fields:
        """What a given value means to the Plan."""
        if value is None:
            return {}
        return {self.name: value} if self.to_fields is None else self.to_fields(value)


# -- tables


@attrs.frozen
class Column:
    """A column of a table for people: its title, the row's key, how the value is written."""

    title: str
    key: str
    how: str = ""

    def cell(self, row: Row) -> str:
        value = row.get(self.key)
        return "-" if value is None else format(value, self.how)


def columns(*triples: tuple[str, str, str]) -> tuple[Column, ...]:
    """``("wall s", "wall_s", ".2f")`` each."""
    return tuple(Column(*one) for one in triples)


@attrs.frozen(kw_only=True)
class Table:
    """One more table of a result, below the main one."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


# -- the value


@attrs.frozen(kw_only=True)
class Array:
    """How an experiment's units are found by the elements of an array job. Such a one keeps its rows by itself.

    ``left(plan, database)`` is how many units the database lacks; ``words(plan, database)`` keeps the plan, and is
    the command that gathers, with a share that of an element; ``element`` does one share of what is left, and says in a
    line what came of it; ``take_over(database)`` gathers what elements have found.
    """

    left: Callable[[Any, Path], int]
    words: Callable[[Any, Path], list[str]]
    element: Callable[[Any, Path, Share, Say], str]
    take_over: Callable[[Path], object]


def _no_tables(_found: Result) -> Iterable[Table]:
    return ()


def _nothing(_found: Result) -> Iterable[str]:
    return ()


def _runs(found: Result) -> Iterable[Row]:
    return found.runs


@attrs.frozen(kw_only=True)
class Experiment(Generic[P]):
    """One experiment, whole.

    ``examples`` are commands with their meaning, ``covers`` ids of the journal's
    checklist and laws. ``plan`` is the frozen class that its options fill, ``journal`` the fields of the preset of that
    name. ``run`` gets a plan, whom to tell how far it is, over how many processes it may spread, and where its parts
    are kept while it is not whole.

    ``verdict`` says in plain words what was found, ``charts`` has the main picture first, and both work on results of
    older versions that were kept. ``unlisted`` are options of all experiments that mean nothing here: they are answered
    so, and are not in the help.
    """

    name: str
    examples: tuple[tuple[str, str], ...]
    covers: tuple[str, ...]
    plan: type[P]
    run: Callable[[P, Say, int, Parts], Result]
    columns: tuple[Column, ...]
    verdict: Callable[[Result], str]
    charts: Callable[[Result], Iterable[Chart]]
    options: tuple[Option, ...] = ()
    #: The main table's rows as people see them, if not as the result has them.
    rows: Callable[[Result], Iterable[Row]] = _runs
    #: Lines of text above the table: a picture for a terminal.
    picture: Callable[[Result], Iterable[str]] = _nothing
    #: Lines below it: what its columns mean.
    notes: Callable[[Result], Iterable[str]] = _nothing
    #: Further tables, for those who ask for more.
    tables: Callable[[Result], Iterable[Table]] = _no_tables
    journal: Fields = attrs.field(factory=dict)
    #: Fields it has in the book, where everything is the same to the byte.
    book: Fields = attrs.field(factory=dict)
    unlisted: tuple[str, ...] = ()
    #: Its database holds its rows, is gone on with, and may be filled by an array job.
    array: Array | None = None

    def fields(self, given: Fields) -> dict[str, Any]:
        """Fields of its Plan from values by the names of options; names that mean nothing here are left out."""
        own = {option.name: option for option in self.options}
        found: JsonObject = {}
        for name, value in given.items():
            if name in own:
                found |= own[name].fields(value)
            elif self.has(name):
                found[name] = value
        return found

    def make_plan(self, given: Fields, preset: str = "small") -> P:
        """The preset's Plan with ``given`` put over it. Raises ValueError for what cannot be."""
        for name in given:
            if not self.has(name):
                raise ValueError(_unknown(self.name, name))
        clock, clocks = given.get("clock"), self.clocks
        if clock is not None and clock not in clocks:
            raise ValueError(f"--clock {clock}: {self.name} has a meaning under the {clocks[0]} clock only")
        return self.plan(**{**(self.journal if preset == "journal" else {}), **given})

    def find(self, plan: P, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
        """Run it. A program may ask for more than one worker behind ``if __name__ == "__main__"`` only."""
        return self.run(plan, say, workers, parts)

    def has(self, field: str) -> bool:
        """Its Plan knows such a field."""
        return field in _fields(self.plan)

    @property
    def clocks(self) -> tuple[str, ...]:
        """The clocks its Plan can be run on."""
        validator: Any = _fields(self.plan)["clock"].validator
        return tuple(validator.options)

    @property
    def has_own_reps(self) -> bool:
        """Its Plan knows repetitions; of others the whole is repeated."""
        return self.has("reps")


def _fields(plan: Any) -> JsonView:
    return attrs.fields_dict(plan)


#: What an option means that not every experiment has.
_MEANING = {
    "jobs": "it submits none",
    "size": "it looks at one broker",
    "clock": "its clock is given",
    "seed": "nothing in it is drawn",
}


def _unknown(experiment: str, field: str) -> str:
    why = _MEANING.get(field, "its plan has no such field")
    return f"bench {experiment} has no --{field.replace('_', '-')}: {why}"


def repeated(
    experiment: Experiment[Any],
    plan: object,
    reps: int,
    say: Say = silent,
    workers: int = 1,
    parts: Parts = NOWHERE,
) -> Result:
    """The experiment with as many seeds: ``seed``, ``seed`` + 1, …; in real time as many runs.

    The first run's figures are the result; a check agrees if it does in every run, and says in how many it did.
    ``repetitions`` has the rows of all.
    """
    if reps == 1 or experiment.has_own_reps:
        return experiment.find(plan, say, workers, parts)
    found = []
    for rep in range(reps):
        say(f"run {rep + 1} of {reps}")
        found.append(one_of(experiment, plan, rep, say, workers, parts))
    first = found[0]
    checks = tuple(map(_agreed, zip(*(one.checks for one in found), strict=True)))
    more = {**first.parts, "repetitions": [one.parts["runs"] for one in found]}
    return attrs.evolve(first, parts=more, checks=checks)


def one_of(experiment: Experiment[Any], plan: Any, rep: int, say: Say, workers: int, parts: Parts) -> Result:
    """One repetition, with the seed and the parts that are its own."""
    one = attrs.evolve(plan, seed=plan.seed + rep)
    return experiment.find(one, say, workers, parts.within(f"run {rep}"))


def _agreed(same: tuple[Any, ...]) -> Any:
    agree = sum(one.ok for one in same)
    told = f"{same[0].ours} ({agree} of {counted(len(same), 'run')} agree)"
    return attrs.evolve(same[0], ok=agree == len(same), ours=told)
