"""Knows a sweep's plan: which combinations of which intervals, how often; as TOML and as a value. Not how it is run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import gcd
from pathlib import Path
from typing import Any, TypeVar

import attrs

from brokersim import files
from brokersim.lab.measure.pipeline import STYLES
from brokersim.lab.measure.truth import WORKLOADS, period_of
from brokersim.lab.sweep.intervals import Store, Stream, Unit
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.duration import format_duration, parse_duration
from brokersim.reactor.cost import CostModel
from brokersim.statsd.config import SHORTEST_FLUSH
from brokersim.statsd.dialects import DIALECTS

T = TypeVar("T")
#: The journal's own settings: timer 1 s, no client period, flush 10 s, carbon's stock 60 s.
JOURNAL = {"emission": "timer:1s", "period": 0.0, "style": "absolute", "flush": 10.0, "retention": 60.0}
OVERHEADS = ("predicted", "real")


class PlanError(ValueError):
    """A plan that cannot be: where, what it says, what would be right."""


@attrs.frozen(kw_only=True)
class SweepPlan:
    """A sweep. Durations in seconds, losses as shares. Read with :func:`read_plan`.

    The law gives every combination its figures; ``points`` of them (0: all) are simulated to check it, each with
    ``draws`` phases of its own; to ``confirm`` is to simulate them on the other workloads, too. An emission's price is
    ``predicted`` by the cost model, or of ``real`` runs, ``reps`` of each.
    """

    workloads: tuple[str, ...] = ("bulk",)
    jobs: int = 60
    seeds: tuple[int, ...] = (0,)
    draws: int = 25
    points: int = 3
    max_loss: float = 0.01
    emissions: tuple[str, ...] = (
        "prepare", "check", "idle", "timer:2s", "timer:1s", "timer:0.1s", "timer:0.025s",
    )  # fmt: skip
    periods: tuple[float, ...] = (0.0, 0.1, 1.0)
    #: Without loss the styles that heal draw the same curve to the last digit (docs/intervals.md).
    styles: tuple[str, ...] = ("totals",)
    flushes: tuple[float, ...] = (10.0, 1.0, 0.1)
    retentions: tuple[float, ...] = (60.0, 10.0, 1.0)
    dialects: tuple[str, ...] = ("strict",)
    losses: tuple[float, ...] = (0.0,)
    confirm: bool = False
    overhead: str = "predicted"
    overhead_jobs: int = 10
    reps: int = 5
    cost: CostModel = attrs.field(factory=CostModel)
    #: The truth is known under the virtual clock only.
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("virtual",)))

    def combinations(self, workload: str, seed: int) -> list[tuple[Stream, Store]]:
        """The journal's own settings, then every combination of the grid, on one workload and seed."""
        return [(self._stream(workload, seed, sending), store) for sending, store in self._grid()]

    def units(self) -> list[Unit]:
        """What is simulated: ``points`` combinations spread evenly over the grid, on each workload and seed."""
        chosen = _spread_out(self._grid(), self.points)
        units: dict[Stream, list[Store]] = {}
        for workload, seed in product(self.workloads, self.seeds):
            for sending, store in chosen:
                units.setdefault(self._stream(workload, seed, sending), []).append(store)
        return [Unit(stream, tuple(stores)) for stream, stores in units.items()]

    def _stream(self, workload: str, seed: int, sending: Sending) -> Stream:
        emission, period, style, dialect, loss = sending
        return Stream(
            workload=workload, jobs=self.jobs, seed=seed, emission=emission, period=period, style=style,
            dialect=dialect, loss=loss, draws=self.draws,
        )  # fmt: skip

    def _grid(self) -> list[tuple[Sending, Store]]:
        journal = ("timer:1s", 0.0, "absolute", self.dialects[0], self.losses[0])
        sendings = product(self.emissions, self.periods, self.styles, self.dialects, self.losses)
        stores = [Store(flush, retention) for flush, retention in product(self.flushes, self.retentions)]
        # As keys: the grid may have the journal's settings too.
        return list(dict.fromkeys([(journal, Store(10.0, 60.0)), *product(sendings, stores)]))


def _spread_out(grid: Sequence[T], points: int) -> list[T]:
    """The first, and others at steps of the golden section: every level of every stage comes up about equally often."""
    count = len(grid) - 1
    if not points or points > count:
        return list(grid)
    step = next(step for step in range(round(count * 0.618) or 1, 2 * count + 2) if gcd(step, count) == 1)
    return [grid[0], *(grid[1 + step * at % count] for at in range(1, points))]


Sending = tuple[str, float, str, str, float]


# -- reading


def read_plan(text: str, name: str = "plan") -> SweepPlan:
    """A plan from TOML. Raises PlanError that names the file, the key and what it may be."""
    return SweepPlan(**_tables(_document(text, name), name))


def fields_of(path: Path) -> JsonObject:
    """What a file says of a plan, and nothing else. Raises PlanError."""
    try:
        return _tables(_document(files.read_text(path), str(path)), str(path))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None


def _document(text: str, name: str) -> JsonObject:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{name}: not TOML: {error}") from None


def _tables(document: JsonView, name: str) -> JsonObject:
    found: JsonObject = {}
    for table, content in document.items():
        if table not in _TABLES or not isinstance(content, dict):
            known = ", ".join(f"[{each}]" for each in _TABLES)
            raise PlanError(f"{name}: [{table}] is no table of a plan; there are {known}")
        found |= read_table(table, content, name)
    return found


def read_table(table: str, content: JsonView, name: str) -> JsonObject:
    """The attributes of a plan that the keys of one table set. Raises PlanError."""
    known = _TABLES[table]
    values = {}
    for key, value in content.items():
        if key not in known:
            raise PlanError(f"{name}: {table}.{key}: no such key; there are {', '.join(known)}")
        attribute, read = known[key]
        values[attribute] = read(value, f"{name}: {table}.{key}")
    return values


Reader = Callable[[Any, str], Any]


def _count(lowest: int) -> Reader:
    def read(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise PlanError(f"{where}: {value!r} is no whole number of {lowest} or more")
        return value

    return read


def _one_of(allowed: Iterable[str]) -> Reader:
    known = tuple(allowed)

    def read(value: object, where: str) -> str:
        if value not in known:
            raise PlanError(f"{where}: {value!r} is none of {', '.join(known)}")
        return str(value)

    return read


def _list_of(read: Reader) -> Reader:
    def read_all(value: object, where: str) -> tuple[object, ...]:
        if not isinstance(value, list) or not value:
            raise PlanError(f"{where}: {value!r} is no list with at least one value")
        return tuple(
            dict.fromkeys(read(each, f"{where}[{at}]") for at, each in enumerate(value))
        )  # twice is once

    return read_all


def _duration(lowest: float) -> Reader:
    def read(value: object, where: str) -> float:
        try:
            found = parse_duration(str(value))
        except ValueError as error:
            raise PlanError(f"{where}: {error}") from None
        if not lowest <= found <= 86_400:
            raise PlanError(
                f"{where}: {value!r} is out of range; give {format_duration(lowest)} to 1d, such as 1s"
            )
        return found

    return read


def read_share(value: object, where: str) -> float:
    """A share as ``1%`` or ``0.01``, at least 0 and below 1. Raises PlanError."""
    text = str(value).strip()
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        raise PlanError(f"{where}: {value!r} is no share; give 1% or 0.01, below 100%")
    return found


def _emission(value: object, where: str) -> str:
    try:
        period_of(str(value))
    except ValueError as error:
        raise PlanError(f"{where}: {error}") from None
    return str(value)


#: table: key: (attribute, how it is read)
_TABLES: dict[str, dict[str, tuple[str, Reader]]] = {
    "sweep": {
        "workloads": ("workloads", _list_of(_one_of(WORKLOADS))),
        "jobs": ("jobs", _count(1)),
        "seeds": ("seeds", _list_of(_count(0))),
        "draws": ("draws", _count(1)),
        "points": ("points", _count(0)),
        "max-loss": ("max_loss", read_share),
    },
    "grid": {
        "emission": ("emissions", _list_of(_emission)),
        "period": ("periods", _list_of(_duration(0))),
        "style": ("styles", _list_of(_one_of(STYLES))),
        "flush": ("flushes", _list_of(_duration(SHORTEST_FLUSH))),
        "retention": ("retentions", _list_of(_duration(SHORTEST_FLUSH))),
        "dialect": ("dialects", _list_of(_one_of(DIALECTS))),
        "loss": ("losses", _list_of(read_share)),
    },
    "overhead": {
        "kind": ("overhead", _one_of(OVERHEADS)),
        "jobs": ("overhead_jobs", _count(1)),
        "reps": ("reps", _count(1)),
    },
}


# -- writing


def to_toml(plan: SweepPlan) -> str:
    """The plan as a file that :func:`read_plan` reads back as the same value."""
    lines = []
    for table, keys in _TABLES.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_literal(getattr(plan, attribute))}" for key, (attribute, _) in keys.items()]
        lines.append("")
    return "\n".join(lines)


def _literal(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_literal, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
