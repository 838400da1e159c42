"""Knows what is kept of one run, and its TOML, which people review; not how a run is made or judged."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from typing import Any, Final

import attrs

from brokersim.kit.laws import Relaxation, parse_relaxations
from brokersim.kit.toml import Misplaced, dump, line_of, shown_path
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import COUNTER_NAMES

#: Of the files; a file of another number is refused.
FORMAT: Final = 1
_HEADING = """\
brokersim check: what the command below made every module count. Compared by
  brokersim check --against THIS_FILE
and rewritten by the same with --record. [tolerances] and [relaxed] are yours to edit; they are kept."""


class BaselineError(Exception):
    """A file that is no baseline; the text names it and what is wrong."""


@attrs.frozen(kw_only=True)
class Baseline:
    """One run. Counter names are ``kvs.0.request_rx``; topics are by party, ``request_rx kvs.commit``.

    ``varying`` counters differed between the runs it was recorded from (real time, seeds): lowest and highest.
    ``tolerances`` map globs of counter names to percent; ``relaxed`` laws to reasons.
    """

    command: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    operations: dict[str, int]
    counters: dict[str, int]
    topics: dict[str, dict[str, int]]
    varying: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    tolerances: dict[str, float] = attrs.field(factory=dict)
    relaxed: dict[str, Relaxation] = attrs.field(factory=dict)

    def tolerance(self, counter: str) -> float:
        """Percent this counter may be off: the last glob that matches decides, 0 if none does."""
        return next(
            (
                percent
                for glob, percent in reversed(self.tolerances.items())
                if fnmatchcase(counter, glob) or fnmatchcase(counter.rpartition("/")[0], glob)
            ),
            0.0,
        )

    def averages(self) -> dict[str, float]:
        """Messages per operation: ``kvs.0.request_rx/job``."""
        return {
            f"{name}/{operation}": count / number
            for name, count in self.counters.items()
            for operation, number in self.operations.items()
            if number
        }

    def to_toml(self) -> str:
        """The file's text, in a fixed order."""
        by_party: dict[str, dict[str, int]] = {}
        for name, count in self.counters.items():
            party, _, counter = name.rpartition(".")
            by_party.setdefault(party, {})[counter] = count
        tables: JsonObject = {
            "format": FORMAT,
            "run": {"command": self.command, **self.settings},
            "versions": self.versions,
            "operations": self.operations,
            "tolerances": {glob: f"{percent:g}%" for glob, percent in self.tolerances.items()},
            "relaxed": {law: _relaxation(excuse) for law, excuse in self.relaxed.items()},
            "counters": by_party,
            "varying": {name: list(ends) for name, ends in self.varying.items()},
            "topics": self.topics,
        }
        return dump({name: table for name, table in tables.items() if table}, _HEADING)


def _relaxation(excuse: Relaxation) -> JsonObject:
    return {"reason": excuse.reason} | ({} if excuse.allow is None else {"allow": excuse.allow})


def parse_percent(text: str) -> float:
    """``2%``, ``±2 %`` or ``2``. Raises ValueError."""
    number = text.strip().removeprefix("±").removeprefix("+-").removesuffix("%").strip()
    try:
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 <= percent < float("inf"):
        raise ValueError(f"not a tolerance: {text!r}; give a percentage such as 2%")
    return percent


def read_baseline(text: str, name: str) -> Baseline:
    """A file's text as a baseline. Raises BaselineError that names file, line and key, and what would be right."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BaselineError(f"{name}: {error}") from None
    try:
        return _baseline(tables)
    except Misplaced as error:
        line = line_of(text, error.path)
        where = f"{name}:{line}" if line else name
        raise BaselineError(f"{where}: {shown_path(error.path)} {error.text}") from None


def _baseline(tables: JsonObject) -> Baseline:
    _check_format(tables)
    for name in tables:
        if name not in _TABLES:
            raise Misplaced((name,), f"is no table of a baseline; there are {', '.join(_TABLES)}")
    for name in ("run", "counters"):
        if name not in tables:
            raise Misplaced((name,), "is missing: this is no baseline; write one with --record")
    run = _table(tables, "run")
    command = run.pop("command", None)
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise Misplaced(("run", "command"), 'is no command; give its words, such as ["sh", "work.sh"]')
    counters: dict[str, int] = {}
    for party, given in _table(tables, "counters").items():
        counts = _counts(given, ("counters", party))
        _check_party(party, ("counters", party))
        for counter in counts:
            if counter not in COUNTER_NAMES:
                known = ", ".join(COUNTER_NAMES)
                raise Misplaced(("counters", party, counter), f"is no counter; there are {known}")
        counters |= {f"{party}.{counter}": count for counter, count in counts.items()}
    return Baseline(
        command=tuple(command),
        settings=_settings(run),
        versions={key: str(value) for key, value in _table(tables, "versions").items()},
        operations=_counts(_table(tables, "operations"), ("operations",)),
        counters=counters,
        topics={
            party: _counts(found, ("topics", party)) for party, found in _table(tables, "topics").items()
        },
        varying={key: _ends(value, ("varying", key)) for key, value in _table(tables, "varying").items()},
        tolerances={
            glob: _percent(one, ("tolerances", glob)) for glob, one in _table(tables, "tolerances").items()
        },
        relaxed={
            law: excuse
            for given, value in _table(tables, "relaxed").items()
            for law, excuse in _relaxed(given, value).items()
        },
    )


#: The tables of a baseline, and the settings under ``run`` with their kinds.
_TABLES: Final = (
    "format", "run", "versions", "operations", "tolerances", "relaxed", "counters", "varying", "topics",
)  # fmt: skip
_RUN: Final[dict[str, type]] = {
    "size": int, "clock": str, "seed": int, "hook": str, "resources": str, "jobs": str,
    "modules": list,
}  # fmt: skip


def _check_format(tables: JsonObject) -> None:
    # Files written before there was a number are of the first format.
    number = tables.get("format", FORMAT)
    if number != FORMAT:
        text = f"= {number!r}: this brokersim reads format {FORMAT}; record it anew, or use the version that wrote it"
        raise Misplaced(("format",), text)


def _table(tables: JsonObject, name: str) -> JsonObject:
    found = tables.get(name, {})
    if not isinstance(found, dict):
        raise Misplaced((name,), f"= {found!r} is no table")
    return dict(found)


def _settings(run: JsonObject) -> JsonObject:
    for name, value in run.items():
        kind = _RUN.get(name)
        if kind is None:
            raise Misplaced(("run", name), f"is no setting; there are command, {', '.join(_RUN)}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise Misplaced(("run", name), f"= {value!r} is no {_KIND_NAMES[kind]}")
    return run


_KIND_NAMES: Final = {int: "whole number", str: "text", list: "list"}


def _check_party(party: str, path: tuple[str, ...]) -> None:
    name, _, rank = party.rpartition(".")
    if not name or not rank.isdecimal():
        raise Misplaced(path, 'is no module on a rank; write it as MODULE.RANK in quotes, such as "kvs.0"')


def _counts(table: object, path: tuple[str, ...]) -> dict[str, int]:
    if not isinstance(table, dict):
        raise Misplaced(path, f"= {table!r} is no table of counts")
    for name, count in table.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise Misplaced((*path, name), f"= {count!r} is no count; give a whole number, 0 or more")
    return dict(table)


def _ends(value: object, path: tuple[str, ...]) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(end, int) for end in value):
        raise Misplaced(
            path, f"= {value!r} is no range; give the lowest and the highest count, such as [3, 5]"
        )
    return value[0], value[1]


def _percent(value: object, path: tuple[str, ...]) -> float:
    try:
        return parse_percent(str(value))
    except ValueError as error:
        raise Misplaced(path, f"is {error}") from None


def _relaxed(law: str, value: object) -> dict[str, Relaxation]:
    try:
        return parse_relaxations({law: value})
    except ValueError as error:
        raise Misplaced(("relaxed", law), f"is wrong: {error}") from None


def merged(runs: list[Baseline]) -> Baseline:
    """One baseline of several runs of the same command: what differs between them is varying, the rest exact."""
    first = runs[0]
    names = dict.fromkeys(name for run in runs for name in run.counters)
    ends = {
        name: (
            min(run.counters.get(name, 0) for run in runs),
            max(run.counters.get(name, 0) for run in runs),
        )
        for name in names
    }
    varying = {name: end for name, end in ends.items() if end[0] != end[1]} | dict(first.varying)
    exact = {name: count for name, count in first.counters.items() if name not in varying}
    operations = {
        name: count
        for name, count in first.operations.items()
        if all(run.operations.get(name) == count for run in runs)
    }
    return attrs.evolve(first, counters=exact, varying=varying, operations=operations)
