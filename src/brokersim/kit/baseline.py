"""Knows what is kept of one run, and its TOML, which people review; not how a run is made or judged."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import attrs

from brokersim.kit.laws import Relaxation, parse_relaxations
from brokersim.kit.toml import dump

_HEADING = """\
brokersim check: what the command below made every module count. Compared by
  brokersim check --against THIS_FILE
and rewritten by the same with --record. [tolerances] and [relaxed] are yours to edit; they are kept."""


class BaselineError(Exception):
    """A file that is no baseline; the text names it and what is wrong."""


@attrs.frozen(kw_only=True)
class Baseline:
    """One run. Counter names are ``kvs.0.request_rx``; topics are by party, ``request_rx kvs.commit``.

    ``varying`` counters differed between the runs it was recorded from (real time only): lowest and highest.
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
        tables: dict[str, Any] = {
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


def _relaxation(excuse: Relaxation) -> dict[str, Any]:
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
    """A file's text as a baseline. Raises BaselineError that names the file and what is wrong."""
    try:
        tables = tomllib.loads(text)
        run = dict(tables["run"])
        return Baseline(
            command=tuple(map(str, run.pop("command"))),
            settings=run,
            versions={key: str(value) for key, value in tables.get("versions", {}).items()},
            operations=_counts(tables.get("operations", {}), "operations"),
            counters={
                f"{party}.{counter}": count
                for party, counts in tables["counters"].items()
                for counter, count in _counts(counts, f"counters.{party}").items()
            },
            topics={
                party: _counts(found, f"topics.{party}") for party, found in tables.get("topics", {}).items()
            },
            varying={key: (int(ends[0]), int(ends[1])) for key, ends in tables.get("varying", {}).items()},
            tolerances={glob: parse_percent(str(one)) for glob, one in tables.get("tolerances", {}).items()},
            relaxed=parse_relaxations(tables.get("relaxed", {})),
        )
    except tomllib.TOMLDecodeError as error:
        raise BaselineError(f"{name}: {error}") from None
    except KeyError as error:
        raise BaselineError(
            f"{name} is no baseline: it has no {error.args[0]!r}; write one with --record"
        ) from None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise BaselineError(f"{name}: {error}") from None


def _counts(table: Mapping[str, Any], where: str) -> dict[str, int]:
    for name, count in table.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"[{where}] {name} = {count!r} is no count")
    return dict(table)


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
