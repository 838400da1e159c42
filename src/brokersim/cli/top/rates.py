"""Knows how two looks at an instance become rows with rates; not how a look is taken, nor how rows are drawn.

A rate is the difference of two cumulative counters over the time between them by the instance's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import attrs

from brokersim.protocol.decoded import JsonObject, JsonView

Key = tuple[int, str]
Counts = Mapping[str, int]

#: Notes that take the place of rates: why the counters of two looks cannot be compared.
NEW, RESTARTED, CLEARED = "new", "restarted", "cleared"
STATES: Final = "IRFX"


@attrs.frozen(kw_only=True)
class Module:
    """One module as one look found it; None for what the instance does not tell."""

    rank: int
    name: str
    uuid: str = ""
    status: int = 1
    rx: Counts | None = None
    tx: Counts | None = None
    waiting: int = 0
    open: int | None = None
    timings: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict)
    mask: int | None = None
    hook: str | None = None
    packets: int | None = None

    @property
    def key(self) -> Key:
        return self.rank, self.name

    @property
    def state(self) -> str:
        """The letter Flux gives the state: I R F X."""
        return STATES[self.status] if 0 <= self.status < len(STATES) else "?"

    @property
    def slowest(self) -> Mapping[str, float]:
        """The figures of the operation with the largest 99th percentile; empty if it times none."""
        timed = [one for one in self.timings.values() if one["count"]]
        return max(timed, key=lambda one: one["p99"], default={})


@attrs.frozen(kw_only=True)
class Cost:
    """Of a rank's broker: the share of a core it uses and that reading takes, and bytes of memory; None: not known."""

    cpu: float | None = None
    resident: float | None = None
    looking: float | None = None


@attrs.frozen(kw_only=True)
class Look:
    """What one round of requests found. Times in seconds of the instance's clock, one for each rank that answered."""

    modules: tuple[Module, ...] = ()
    times: Mapping[int, float] = attrs.field(factory=dict)
    missing: tuple[int, ...] = ()
    size: int = 1
    clock: str = "real"
    uptime: float | None = None
    messages: int | None = None
    #: How many of the messages were this look's own.
    own: int = 0
    jobs: Counts | None = None
    #: What a rank's broker costs its machine, where a probe reads that.
    costs: Mapping[int, Cost] = attrs.field(factory=dict)
    #: Of each stat over all ranks: its epochs, the rows of the last, which ranks were not in it.
    stats: Mapping[str, JsonView] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Row:
    """One module with its rates, per second of the instance's clock; None where none can be told."""

    module: Module
    rx: float | None = None
    tx: float | None = None
    packets: float | None = None
    note: str = ""


@attrs.frozen(kw_only=True)
class View:
    """A look compared with the one before: what is shown for one interval."""

    look: Look
    rows: tuple[Row, ...] = ()
    #: Seconds of the instance's clock between the two looks; None for the first.
    interval: float | None = None
    #: Messages per second without the looks' own.
    messages: float | None = None


def compare(before: Look | None, after: Look) -> View:
    """The view of an interval; of the first look, without ``before``, it has no rates."""
    if before is None:
        return View(look=after, rows=tuple(Row(module=module) for module in after.modules))
    known = {module.key: module for module in before.modules}
    rows = tuple(_row(known.get(module.key), module, before, after) for module in after.modules)
    interval = None
    messages = None
    if before.uptime is not None and after.uptime is not None:
        interval = max(0.0, after.uptime - before.uptime)
        messages = _messages(before, after, interval)
    return View(look=after, rows=rows, interval=interval, messages=messages)


def _messages(before: Look, after: Look, interval: float) -> float | None:
    if before.messages is None or after.messages is None or interval <= 0:
        return None
    # The own messages of the look before lie in the difference, but for its first, which was counted already: the
    # same first message of this look lies in it instead.
    return max(0, after.messages - before.messages - before.own) / interval


def _row(old: Module | None, new: Module, before: Look, after: Look) -> Row:
    if new.rank not in before.times or new.rank not in after.times:
        return Row(module=new)
    if old is None:
        return Row(module=new, note=NEW)
    if old.uuid != new.uuid:
        return Row(module=new, note=RESTARTED)
    if _fell(old.rx, new.rx) or _fell(old.tx, new.tx):
        return Row(module=new, note=CLEARED)
    seconds = after.times[new.rank] - before.times[new.rank]
    if seconds <= 0:
        return Row(module=new)
    return Row(
        module=new,
        rx=_rate(_sum(old.rx), _sum(new.rx), seconds),
        tx=_rate(_sum(old.tx), _sum(new.tx), seconds),
        packets=_rate(old.packets, new.packets, seconds),
    )


def _sum(counts: Counts | None) -> int | None:
    return None if counts is None else sum(counts.values())


def _fell(old: Counts | None, new: Counts | None) -> bool:
    """Any one counter, not their sum: that may have grown again."""
    return old is not None and new is not None and any(new.get(kind, 0) < old[kind] for kind in old)


def _rate(old: int | None, new: int | None, seconds: float) -> float | None:
    return None if old is None or new is None else max(0, new - old) / seconds


# --- what keys change


@attrs.frozen(kw_only=True)
class Change:
    """What is asked of one module: bits of its mask set or cleared, or another hook."""

    key: Key
    bits: int = 0
    on: bool = True
    hook: str | None = None

    def applied(self, row: Row) -> Row:
        """The row as it is after the change; one of another module stays as it is."""
        module = row.module
        if module.key != self.key:
            return row
        mask = module.mask
        if self.bits:
            mask = (mask or 0) | self.bits if self.on else (mask or 0) & ~self.bits
        hook = module.hook if self.hook is None else self.hook
        return attrs.evolve(row, module=attrs.evolve(module, mask=mask, hook=hook))


# --- order and choice

Figure = Callable[[Row], float | None]

#: Columns that one can sort by: busiest first.
BUSIEST: Final[dict[str, Figure]] = {
    "rx": lambda row: row.rx,
    "tx": lambda row: row.tx,
    "wait": lambda row: row.module.waiting,
    "open": lambda row: row.module.open,
    "p99": lambda row: row.module.slowest.get("p99"),
    "packets": lambda row: row.packets,
}
#: All columns one can sort by, in the order in which a key goes through them.
SORTS: Final = ("rank", "name", *BUSIEST)


def arrange(rows: Iterable[Row], sort: str = "rank", glob: str = "*") -> list[Row]:
    """The rows whose ``name``, or ``rank!name``, is like the glob; those without the figure come last.

    ``rank`` leaves each rank's modules in the order they were loaded in; ``name`` has a module's ranks together.
    """
    chosen = [row for row in rows if is_like(row.module, glob)]
    if sort == "name":
        return sorted(chosen, key=lambda row: (row.module.name, row.module.rank))
    by_rank = sorted(chosen, key=lambda row: row.module.rank)
    figure = BUSIEST.get(sort)
    return by_rank if figure is None else sorted(by_rank, key=lambda row: _descending(figure(row)))


def _descending(figure: float | None) -> tuple[bool, float]:
    return figure is None, -(figure or 0.0)


def is_like(module: Module, glob: str) -> bool:
    """Whether a module's name, or its name behind its rank, is like the glob; an empty one is like all."""
    return not glob or fnmatchcase(module.name, glob) or fnmatchcase(f"{module.rank}!{module.name}", glob)


# --- as one JSON object


def document(view: View) -> JsonObject:
    """What ``--json`` and ``--record`` write for one interval."""
    look = view.look
    return {
        "t_s": look.uptime,
        "interval_s": view.interval,
        "clock": look.clock,
        "size": look.size,
        "missing": list(look.missing),
        "messages": look.messages,
        "own_messages": look.own,
        "messages_per_s": view.messages,
        "jobs": None if look.jobs is None else dict(look.jobs),
        **({"costs": {rank: attrs.asdict(cost) for rank, cost in look.costs.items()}} if look.costs else {}),
        "modules": [_document(row) for row in view.rows],
    }


def _document(row: Row) -> JsonObject:
    module = row.module
    return {
        "rank": module.rank,
        "name": module.name,
        "state": module.state,
        "note": row.note,
        "rx_per_s": row.rx,
        "tx_per_s": row.tx,
        "rx": None if module.rx is None else dict(module.rx),
        "tx": None if module.tx is None else dict(module.tx),
        "waiting": module.waiting,
        "open": module.open,
        "timings_ms": {name: dict(figures) for name, figures in module.timings.items()},
        "mask": module.mask,
        "hook": module.hook,
        "packets": module.packets,
        "packets_per_s": row.packets,
    }


# --- as a curve

BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS: Final = "_.:-=+*#"


def sparkline(values: Sequence[float | None], width: int, blocks: str = BLOCKS) -> str:
    """The last ``width`` values as blocks, the newest to the right, the largest shown at full height.

    Zero is the lowest block and a value that is not known a blank; anything above zero is above the lowest block.
    """
    shown = list(values)[-width:] if width > 0 else []
    top = max((value for value in shown if value is not None), default=0.0)
    return "".join(" " if value is None else blocks[_height(value, top, len(blocks) - 1)] for value in shown)


def _height(value: float, top: float, steps: int) -> int:
    # Divided first: the product of a huge value and the steps would overflow.
    return 0 if value <= 0 else max(1, round(value / top * steps))
