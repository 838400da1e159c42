"""The stats client: what a component counts, added up over a period and sent in few packets.

Knows nothing of sockets or clocks: sending, timers and the time are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol

import attrs

from brokersim.statsd import fripp2021
from brokersim.statsd.batch import Batch, Entry
from brokersim.statsd.names import check_name, join_name
from brokersim.statsd.numbers import Number
from brokersim.statsd.outgoing import Packets, Send, Totals
from brokersim.statsd.receivers import ANY, UNDERSTANDS_TOTALS, WITHOUT_SETS, receiver_name
from brokersim.statsd.tables import Tables

# A set's element must fit its line behind the longest name.
LONGEST_MEMBER = 400

Clock = Callable[[], float]


class Cancellable(Protocol):
    """A running timer."""

    def cancel(self) -> object: ...


StartTimer = Callable[[float, Callable[[], None]], Cancellable]


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """Counts since the client was made. `refused` counts packets nobody took, `restored` the entries that went back
    into the tables for that, `dropped` the values that were given up. `queued` is the number of names waiting."""

    packets: int
    bytes: int
    lines: int
    flushes: int
    refused: int
    restored: int
    dropped: int
    queued: int


@attrs.define(eq=False)
class _Context:
    """Names that share a period: their tables and their timer."""

    period: float
    tables: Tables
    timer: Cancellable | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Timed:
    """A block whose time becomes a timing, also if it raises."""

    __slots__ = ("_client", "_clock", "_name", "_started")

    def __init__(self, client: StatsClient, name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.timing(self._name, (self._clock() - self._started) * 1000)


class StatsClient:
    """Counts, gauges, timings and sets of one component, aggregated per period.

    `send(packet)` says whether the packet was taken; one that was not is counted, and what it carried goes back into
    the tables. `hand_over(batch)` replaces it where the aggregator is in the same process. With neither, the client
    is off for good. `start_timer(period, tick)` starts a *repeating* timer; it is called when something is queued,
    and cancelled by the first tick that finds nothing. Without it somebody must call `flush()`.

    `period` is in seconds: 0 sends at once, below 0 counts as 0. `dialect` is the receiver's, one of
    `receivers.RECEIVERS`: `any` writes what every server reads right, and therefore no sets.
    `compat="fripp-2021"` brings back that client's behaviour. Not safe between threads.
    Raises ValueError for an unknown dialect or compat, StatsNameError for a bad prefix.
    """

    def __init__(
        self,
        send: Send | None,
        *,
        prefix: str = "",
        period: float = 1.0,
        dialect: str = ANY,
        compat: str | None = None,
        start_timer: StartTimer | None = None,
        clock: Clock | None = None,
        hand_over: Callable[[Batch], object] | None = None,
    ) -> None:
        if compat not in (None, fripp2021.NAME):
            raise ValueError(f"no such compat {compat!r}; there is {fripp2021.NAME!r}, or None")
        self.dialect = receiver_name(dialect)
        self.compat = compat
        self._hand_over = hand_over
        self._start_timer = start_timer
        self._clock = clock
        self._new_tables: Callable[[], Tables] = fripp2021.Fripp2021Tables if compat else Tables
        self._prefix = _check_prefix(prefix)
        self._main = _Context(_check_period(period), self._new_tables())
        self._tables = self._in_sight()
        self._own_period: dict[str, _Context] = {}
        self._legal: set[str] = set()
        # As in 2021 a total is sent as it is, whatever the receiver knows of it.
        self._totals = Totals(bool(compat) or self.dialect in UNDERSTANDS_TOTALS, has_starts=not compat)
        self._packets = Packets(send or (lambda packet: False), self._totals.note_sent, bool(compat))
        self._can_send = send is not None or hand_over is not None
        self._on = self._can_send
        self._flushes = self._restored = self._dropped = 0

    # What components call. Each looks in its table first and leaves everything else to `_first`.

    def count(self, name: str, total: Number) -> None:
        """The caller's running total. A smaller one means a restart. Raises StatsNameError; ValueError below 0."""
        if self._on:
            table = self._tables.totals
            if name in table and total >= table[name]:
                table[name] = total
            elif total < 0:
                raise ValueError(
                    f"count({name!r}, {total}): a running total cannot be below 0; inc() takes any change"
                )
            else:
                restart = self._totals.is_restart(name, total)
                self._first(Tables.add_restart if restart else Tables.add_total, name, total)

    def inc(self, name: str, n: Number = 1) -> None:
        """Adds `n` to a counter. Raises StatsNameError."""
        if self._on:
            table = self._tables.incs
            if name in table:
                table[name] += n
            else:
                self._first(Tables.add_inc, name, n)

    def gauge_set(self, name: str, value: Number) -> None:
        """Sets a gauge, below 0 too. Raises StatsNameError."""
        if self._on:
            table = self._tables.bases
            if name in table:
                table[name] = value
            else:
                self._first(Tables.set_base, name, value)

    def gauge_inc(self, name: str, delta: Number) -> None:
        """Changes a gauge by `delta`. A lost packet shifts it for ever: set it, where the total is known."""
        if self._on:
            tables = self._tables
            if name in tables.deltas:
                tables.deltas[name] += delta
            elif name in tables.bases:
                tables.bases[name] += delta
            else:
                self._first(Tables.add_delta, name, delta)

    def timing(self, name: str, ms: float) -> None:
        """One sample, in milliseconds; every one is sent. Raises StatsNameError."""
        if self._on:
            table = self._tables.timings
            if name in table:
                table[name].append(ms)
            else:
                self._first(Tables.add_timing, name, ms)

    def timer(self, name: str, clock: Clock | None = None) -> _Timed:
        """A context manager that times its block by `clock` (s), or the client's. Raises ValueError without one."""
        clock = clock or self._clock
        if clock is None:
            raise ValueError(f"timer({name!r}) has no clock; give one here or to the client")
        return _Timed(self, name, clock)

    def set(self, name: str, value: str | int) -> None:
        """Adds an element to a set of unique strings. Raises StatsNameError, ValueError for what breaks a line."""
        if not self._on:
            return
        if self.dialect in WITHOUT_SETS:
            self._dropped += 1
            return
        self._first(Tables.add_member, name, _check_member(name, str(value), self.dialect))

    def _first(self, add: Callable[..., None], name: str, value: object) -> None:
        """The first value of a name in a period: is the name legal, who sends it, is the timer running?"""
        if name not in self._legal:
            check_name(join_name(self._prefix, name))
            self._legal.add(name)
        context = self._own_period.get(name, self._main)
        # By name, because the tables of a compat client do it in another way.
        getattr(context.tables, add.__name__)(name, value)
        if context.period == 0:
            self._flush_context(context)
        elif context.timer is None:
            self._run_timer(context)

    def _run_timer(self, context: _Context) -> None:
        """Starts the timer if something is queued that it would send."""
        if (
            self._on
            and context.timer is None
            and context.period
            and context.tables
            and self._start_timer is not None
        ):
            context.timer = self._start_timer(context.period, partial(self._tick, context))

    def _tick(self, context: _Context) -> None:
        if context.tables:
            self._flush_context(context)
        else:
            context.stop_timer()

    def _in_sight(self) -> Tables:
        """The tables whose names the calls may change without `_first`: none where every call sends at once."""
        return self._main.tables if self._main.period else self._new_tables()

    def _contexts(self) -> list[_Context]:
        return [self._main, *self._own_period.values()]

    # Policy

    @property
    def enabled(self) -> bool:
        return self._on

    @enabled.setter
    def enabled(self, on: bool) -> None:
        """Off sends what is queued; from then on every call does nothing, cheaply."""
        if not on and self._on:
            self.flush()
            for context in self._contexts():
                context.stop_timer()
        self._on = on and self._can_send
        for context in self._contexts():
            self._run_timer(context)

    @property
    def period(self) -> float:
        return self._main.period

    @property
    def prefix(self) -> str:
        return self._prefix

    def set_period(self, seconds: float, name: str | None = None) -> None:
        """A new period for all, or for one metric, from now on; what is queued is sent first.

        0 and below send at once. As fripp-2021 a period below 0 changes nothing and what is queued waits on.
        Raises ValueError if it is no finite number.
        """
        period = _check_period(seconds)
        if self.compat and seconds < 0:
            return
        if not self.compat or period == 0:
            self.flush()
        context = self._main if name is None else self._own_period.get(name)
        if context is None:
            assert name is not None
            context = self._own_period[name] = _Context(period, self._new_tables())
            if not self.compat:  # what nobody took yet must not go out behind what comes now
                self._main.tables.hand_over(name, context.tables)
        context.period = period
        self._tables = self._in_sight()
        context.stop_timer()
        self._run_timer(context)

    def set_prefix(self, prefix: str) -> None:
        """Puts `prefix` and a dot before all names; what is queued goes out under the old one first.

        Do not come back to an earlier one: a receiver of totals would count the steps made meanwhile once more.
        As fripp-2021 it renames what is queued, and one of more than 127 characters is ignored. Raises StatsNameError.
        """
        if self.compat:
            if len(prefix) <= fripp2021.LONGEST_PREFIX:
                self._prefix = _check_prefix(prefix)
            return
        checked = _check_prefix(prefix)
        self.flush()
        self._prefix = checked
        self._legal.clear()
        self._totals.forget_receiver()

    # Out

    def flush(self) -> None:
        """Sends all that is queued, whatever its period."""
        for context in self._contexts():
            self._flush_context(context)

    def close(self) -> None:
        """Sends what is queued and switches off for good. What nobody takes now is counted as dropped."""
        self.flush()
        self.enabled = False
        self._can_send = False
        for context in self._contexts():
            self._dropped += len(context.tables)
            context.tables = self._new_tables()
        self._tables = self._in_sight()

    def _flush_context(self, context: _Context) -> None:
        tables = context.tables
        if not tables or not self._can_send:
            return
        context.tables = self._new_tables()
        self._tables = self._in_sight()
        self._flushes += 1
        entries = tuple(self._totals.told(tables.drain()))
        self._dropped += tables.dropped
        batch = Batch(entries=entries, prefix=self._prefix, dialect=self.dialect)
        if self._hand_over is not None:
            self._hand_over(batch)
            self._totals.note_sent(entries)
        else:
            self._put_back(context, self._packets.send(batch))

    def _put_back(self, context: _Context, entries: list[Entry]) -> None:
        # Each goes before what is there already, so the last one goes first.
        for entry in reversed(entries):
            lost = context.tables.restore(entry)
            self._dropped += lost
            self._restored += lost < len(entry.values)

    def statistics(self) -> ClientStatistics:
        return ClientStatistics(
            packets=self._packets.packets,
            bytes=self._packets.bytes,
            lines=self._packets.lines,
            flushes=self._flushes,
            refused=self._packets.refused,
            restored=self._restored,
            dropped=self._dropped + self._packets.dropped,
            queued=sum(len(context.tables) for context in self._contexts()),
        )


def _check_period(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError(f"a period of {seconds} s; it must be a finite number of seconds, 0 to send at once")
    return max(0.0, seconds)


def _check_prefix(prefix: str) -> str:
    prefix = prefix.rstrip(".")
    return check_name(prefix) if prefix else ""


def _check_member(name: str, member: str, dialect: str) -> str:
    """Only strict takes a colon in an element; elsewhere it would end the name or start another value."""
    illegal = "\n\r\0|" if dialect == "strict" else "\n\r\0|:"
    if any(char in member for char in illegal):
        raise ValueError(f"set({name!r}, {member!r}): an element must not contain {illegal!r} for {dialect}")
    if len(member.encode("utf-8", "replace")) > LONGEST_MEMBER:
        raise ValueError(f"set({name!r}, {member[:40]!r}…): an element has at most {LONGEST_MEMBER} bytes")
    return member
