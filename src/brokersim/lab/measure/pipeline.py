"""Knows the way of a value from its module to the store: emission, client, network, aggregator flush, retention slot.

Doesn't know the truth's origin or how far the result is from it. Time is integer microseconds; the client and the
aggregator are the real ones, driven by this time. At equal times the order is change, emission, client, flush.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import attrs

from brokersim.lab.measure.series import US, Steps
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.client import StatsClient
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.packet import GaugeBlock

#: How a counted value is written: its snapshot, the journal's increments, increments that skip zeros, changed totals.
STYLES = ("absolute", "increments", "increments-nonzero", "totals")
#: (time, what is called, with what)
Call: TypeAlias = tuple[int, str, Any]
Packet: TypeAlias = tuple[int, bytes]


@attrs.frozen(kw_only=True)
class Track:
    """Values that change together: after change i, at ``times[i]``, they were ``rows[i]``; before, ``first``."""

    names: tuple[str, ...]
    first: tuple[int, ...]
    times: list[int]
    rows: list[tuple[int, ...]]

    def steps(self) -> dict[str, Steps]:
        """Each value as a step function, without the changes that are others'."""
        return {name: self._steps(at) for at, name in enumerate(self.names)}

    def _steps(self, at: int) -> Steps:
        times, values = [0], [self.first[at]]
        for t, row in zip(self.times, self.rows, strict=True):
            if row[at] != values[-1]:
                times.append(t)
                values.append(row[at])
        return Steps(times=times, values=values)

    def row(self, index: int) -> tuple[int, ...]:
        """The values after the first ``index`` changes."""
        return self.rows[index - 1] if index else self.first

    def touched(self, start: int, end: int) -> dict[str, int]:
        """Net change by name over changes ``start`` to ``end``; 0 for a name that moved there and back."""
        names = {
            at: None
            for i in range(start, end)
            for at, (old, new) in enumerate(zip(self.row(i), self.rows[i], strict=True))
            if old != new
        }
        before, after = self.row(start), self.row(end)
        return {self.names[at]: after[at] - before[at] for at in sorted(names)}


@attrs.frozen
class Emission:
    """At ``t`` somebody looked and said what the first ``end`` changes had come to; he knew the first ``start``."""

    t: int
    start: int
    end: int


def at_marks(marks: Iterable[tuple[int, int]]) -> list[Emission]:
    """Emissions at (time, changes so far); where nothing changed nothing is emitted."""
    found: list[Emission] = []
    known = 0
    for t, end in marks:
        if end > known:
            found.append(Emission(t, known, end))
            known = end
    return found


def at_ticks(track: Track, period: int, phase: int, horizon: int) -> list[Emission]:
    """A timer's emissions: at each tick, if something changed since the last."""
    return at_marks((t, bisect_right(track.times, t)) for t in ticks(period, phase, horizon))


def at_changes(track: Track, delay: int = 0) -> list[Emission]:
    """An emission for every instant with changes, ``delay`` µs after it: what a spinning loop sees."""
    last = [i for i, (t, after) in enumerate(pairwise([*track.times, -1]), start=1) if t != after]
    return at_marks((track.times[end - 1] + delay, end) for end in last)


def ticks(period: int, phase: int, horizon: int) -> range:
    """Times in (0, horizon) at ``phase`` and every ``period`` after; a phase of 0 starts one period in."""
    return range(phase or period, horizon, period)


# -- emission to client calls


def calls(track: Track, emissions: Iterable[Emission], style: str) -> Iterator[Call]:
    """What a module calls its stats client for."""
    write = _STYLES[style]
    for emission in emissions:
        yield from write(track, emission)


def _absolute(track: Track, emission: Emission) -> Iterator[Call]:
    yield emission.t, "snapshot", (track.names, track.row(emission.end))


def _increments(track: Track, emission: Emission) -> Iterator[Call]:
    for name, delta in track.touched(emission.start, emission.end).items():
        yield emission.t, "inc", (name, delta)


def _totals(track: Track, emission: Emission) -> Iterator[Call]:
    row = dict(zip(track.names, track.row(emission.end), strict=True))
    for name in track.touched(emission.start, emission.end):
        yield emission.t, "set", (name, row[name])


_STYLES: dict[str, Callable[[Track, Emission], Iterator[Call]]] = {
    "absolute": _absolute,
    "increments": _increments,
    "increments-nonzero": _increments,
    "totals": _totals,
}


# -- client


def client_packets(
    calls: Iterable[Call],
    *,
    style: str,
    period: int,
    phase: int = 0,
    dialect: str = "strict",
    horizon: int,
) -> list[Packet]:
    """The packets of a stats client that aggregates over ``period`` µs (0: sends at once), with their times.

    Style ``increments`` is the journal's client of 2021. Snapshots leave as one packet of gauges where the client
    sends at once, as the message counters do.
    """
    sent: list[Packet] = []
    now = 0

    def send(packet: bytes) -> bool:
        sent.append((now, packet))
        return True

    compat = "fripp-2021" if style == "increments" else None
    client = StatsClient(send, period=period / US, dialect=dialect, compat=compat)
    act = _actions(client, None if period else send)
    beats = iter(ticks(period, phase, horizon)) if period else iter(())
    beat = next(beats, None)
    for t, op, payload in calls:
        while beat is not None and beat < t:
            now = beat
            client.flush()
            beat = next(beats, None)
        now = t
        act[op](payload)
    if beat is not None:
        now = beat
        client.flush()
    return sent


def _actions(client: StatsClient, send: Callable[[bytes], bool] | None) -> dict[str, Callable[[Any], object]]:
    blocks: dict[tuple[str, ...], GaugeBlock] = {}

    def snapshot(payload: tuple[tuple[str, ...], tuple[int, ...]]) -> None:
        names, row = payload
        if send is not None:
            block = blocks.get(names) or blocks.setdefault(names, GaugeBlock(names))
            send(block.format(row))
            return
        for name, value in zip(names, row, strict=True):
            client.gauge_set(name, value)

    return {
        "snapshot": snapshot,
        "inc": lambda payload: client.gauge_inc(*payload),
        "set": lambda payload: client.gauge_set(*payload),
        "timing": lambda payload: client.timing(*payload),
    }


def lossy(packets: Iterable[Packet], share: float, seed: str) -> list[Packet]:
    """The packets that arrive if each is lost with probability ``share``, the same ones for the same seed."""
    if not share:
        return list(packets)
    draw = random.Random(seed)
    return [packet for packet in packets if draw.random() >= share]


# -- aggregator and store


@attrs.frozen
class Shown:
    """What one flush showed: gauges by name, and the samples of its timers."""

    t: int
    gauges: Mapping[str, float]
    samples: Mapping[str, Sequence[float]]


def flushes(
    packets: Sequence[Packet], *, period: int, phase: int = 0, dialect: str = "strict", horizon: int
) -> list[Shown]:
    """Every flush of an aggregator before ``horizon``; a packet at a flush's instant is in it."""
    aggregator = Aggregator(dialect, AggregatorConfig(flush=period / US))
    found: list[Shown] = []
    at = 0
    for t in ticks(period, phase, horizon):
        while at < len(packets) and packets[at][0] <= t:
            aggregator.feed(packets[at][1])
            at += 1
        flush = aggregator.flush(t / US)
        found.append(Shown(t, flush.gauges, flush.samples))
    return found


def stored(shown: Iterable[Shown], retention: int, phase: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Points by gauge: each flush goes to the slot it lies in, labelled with the slot's start; the last one wins."""
    found: dict[str, list[tuple[int, float]]] = {}
    for flush in shown:
        slot = (flush.t - phase) // retention * retention + phase
        for name, value in flush.gauges.items():
            points = found.setdefault(name, [])
            if points and points[-1][0] == slot:
                points[-1] = (slot, value)
            else:
                points.append((slot, value))
    return found
