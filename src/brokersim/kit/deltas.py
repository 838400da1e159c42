"""Knows by how much counters moved between two moments, how that compares with what was expected, and why.

It doesn't know when the moments are: whoever holds the ledger says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from brokersim.kit.expect import Range, at_least, difference
from brokersim.kit.keys import CounterKey, parse_key
from brokersim.kit.ledger import Ledger, Party, Tally
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.message import COUNTER_NAMES


@attrs.frozen(kw_only=True)
class Difference:
    """One counter that is not as expected, and the topics that made it: (topic, messages)."""

    key: CounterKey
    got: int
    expected: Any
    topics: tuple[tuple[str, int], ...]

    @property
    def off(self) -> float | None:
        """How far off, signed."""
        return difference(self.got, self.expected)


@attrs.frozen
class Partial:
    """Some of the counters of a comparison; those not named may be anything: ``d == partial({...})``."""

    expected: JsonView


#: As tests write it.
partial = Partial


class Deltas(Mapping[str, int]):
    """What moved while the ``with`` block ran: counters that changed, by name (``kvs.0.request_rx``).

    With one party watched the names are short (``request_rx``). ``==`` a dict: exactly that, what is not named
    is 0. ``== partial({...})``: exactly that of what is named, the rest is free. ``>=`` a dict: at least that of
    what is named. Expected values may be ranges (`at_most`, `between`, `approx`, pytest.approx).
    """

    def __init__(self, ledger: Ledger, parties: tuple[Party, ...], by_topic: bool = False) -> None:
        self._ledger = ledger
        self._parties = parties
        self._by_topic = by_topic
        self._before: dict[Party, Tally] = ledger.snapshot()
        self._after: dict[Party, Tally] | None = None
        #: What the last comparison found, for the report of a failing assertion.
        self.differences: tuple[Difference, ...] = ()

    def close(self) -> None:
        """The later moment is now."""
        self._after = self._ledger.snapshot()

    @property
    def topics(self) -> Deltas:
        """The same by topic: names as ``request_rx:kvs.commit``."""
        view = Deltas.__new__(Deltas)
        view.__dict__ = {**self.__dict__, "_by_topic": True, "differences": ()}
        return view

    @property
    def counts(self) -> dict[str, int]:
        """A plain dict of what moved, for inline snapshots and printing."""
        return {self._shown(key): count for key, count in self._moved().items()}

    # -- as a mapping

    def __getitem__(self, name: str) -> int:
        return self._moved().get(self._key(name), 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self._moved())

    def __repr__(self) -> str:
        return f"Deltas({self.counts})"

    # -- compared

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self._compare(other, exact=True)
        if isinstance(other, Partial):
            return self._compare(other.expected, exact=False)
        expected_for = getattr(other, "expected_for", None)
        if expected_for is None:
            # Anything else sees plain counts: an inline snapshot, which keeps what it was compared with.
            return bool(self.counts == other)
        return self._compare(expected_for(self.counts), exact=True)

    __hash__ = None  # type: ignore[assignment]

    def __ge__(self, other: JsonView) -> bool:
        least = {
            name: value if isinstance(value, Range) else at_least(value) for name, value in other.items()
        }
        return self._compare(least, exact=False)

    def _compare(self, other: JsonView, exact: bool) -> bool:
        expected = {self._key(name): value for name, value in other.items()}
        self._check_watched(expected)
        moved = self._moved()
        keys = dict.fromkeys((*expected, *moved)) if exact else expected
        self.differences = tuple(
            self._difference(key, moved.get(key, 0), expected.get(key, 0))
            for key in sorted(keys)
            if expected.get(key, 0) != moved.get(key, 0)
        )
        return not self.differences

    def _check_watched(self, keys: Mapping[CounterKey, object]) -> None:
        for key in keys:
            if key.party not in self._parties:
                watched = ", ".join(f"{name}.{rank}" for rank, name in self._parties)
                raise ValueError(f"{key} was not watched; deltas(...) watched {watched}")
            if bool(key.topic) != self._by_topic:
                hint = "compare .topics" if key.topic else "name the topic: " + str(key) + ":TOPIC"
                raise ValueError(f"{key} is {'' if key.topic else 'not '}a count of one topic; {hint}")

    def _difference(self, key: CounterKey, got: int, expected: object) -> Difference:
        made = {
            topic: count
            for (index, topic), count in self._entries(key.party)
            if index == key.index and key.topic in ("", topic)
        }
        ordered = tuple(sorted(made.items(), key=lambda item: (-abs(item[1]), item[0])))
        return Difference(key=key, got=got, expected=expected, topics=ordered)

    # -- counted

    def _moved(self) -> dict[CounterKey, int]:
        moved: dict[CounterKey, int] = {}
        for party in self._parties:
            totals: dict[tuple[int, str], int] = {}
            for (index, topic), count in self._entries(party):
                entry = (index, topic if self._by_topic else "")
                totals[entry] = totals.get(entry, 0) + count
            for (index, topic), count in sorted(totals.items()):
                moved[CounterKey(party[1], party[0], COUNTER_NAMES[index], topic)] = count
        return moved

    def _entries(self, party: Party) -> Iterator[tuple[tuple[int, str], int]]:
        after = self._ledger.tallies if self._after is None else self._after
        before = self._before.get(party, {})
        for entry, count in after.get(party, {}).items():
            delta = count - before.get(entry, 0)
            if delta:
                yield entry, delta

    def _key(self, name: str) -> CounterKey:
        return parse_key(name, self._parties[0] if len(self._parties) == 1 else None)

    def _shown(self, key: CounterKey) -> str:
        if len(self._parties) > 1:
            return str(key)
        return f"{key.counter}:{key.topic}" if key.topic else key.counter


def table(differences: tuple[Difference, ...]) -> list[str]:
    """The differences as aligned lines: module, rank, type, got, expected, difference, and the topics behind them."""
    rows = [("module", "rank", "type", "got", "expected", "diff")]
    rows += [
        (
            item.key.name,
            str(item.key.rank),
            _type(item.key),
            str(item.got),
            str(item.expected),
            _signed(item.off),
        )
        for item in differences
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(_aligned(cell, widths[at], at) for at, cell in enumerate(row)).rstrip() for row in rows
    ]
    told = [lines[0]]
    for line, item in zip(lines[1:], differences, strict=True):
        told.append(line)
        if not item.key.topic:
            told += [f"    {count:+d} {topic}" for topic, count in item.topics[:8]]
            if len(item.topics) > 8:
                told.append(f"    … and {len(item.topics) - 8} topics more")
    return told


def _type(key: CounterKey) -> str:
    return f"{key.counter}:{key.topic}" if key.topic else key.counter


def _aligned(cell: str, width: int, at: int) -> str:
    return cell.ljust(width) if at in (0, 2) else cell.rjust(width)


def _signed(off: float | None) -> str:
    return "" if off is None else f"{off:+g}"
