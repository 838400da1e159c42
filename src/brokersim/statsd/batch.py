"""What a client has gathered and is about to send, and how each kind of receiver wants it written.

Knows nothing of periods, timers or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import attrs

from brokersim.statsd.names import join_name
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.packet import MAX_PACKET, gauge_lines
from brokersim.statsd.receivers import ANY, receiver_name


class Entry(NamedTuple):
    """One name's share of a period. `kind` is one of the words below; values are in the order of the calls."""

    kind: str
    name: str
    values: tuple[Number | str, ...]


INC, TOTAL, GAUGE, DELTA, TIMING, SET = "inc", "total", "gauge", "delta", "timing", "set"


class Group(NamedTuple):
    """Lines that never part, and the entry that would have to be kept if they could not be sent."""

    text: bytes
    entry: Entry


Writer = Callable[[bytes, Entry], list[Group]]


def _bytes(value: Number | str) -> bytes:
    return (value if isinstance(value, str) else format_number(value)).encode()


def _line_each(letter: bytes) -> Writer:
    def write(key: bytes, entry: Entry) -> list[Group]:
        if len(entry.values) == 1:
            return [Group(b"%b:%b|%b" % (key, _bytes(entry.values[0]), letter), entry)]
        return [
            Group(b"%b:%b|%b" % (key, _bytes(value), letter), entry._replace(values=(value,)))
            for value in entry.values
        ]

    return write


def _gauge(key: bytes, entry: Entry) -> list[Group]:
    return [Group(gauge_lines(key, _bytes(entry.values[0])), entry)]


def _delta(key: bytes, entry: Entry) -> list[Group]:
    """Always with its sign: without one a delta would be read as a value to set."""
    text = _bytes(entry.values[0])
    return [Group(b"%b:%b%b|g" % (key, b"" if text.startswith(b"-") else b"+", text), entry)]


def _joined(separator: bytes, end: bytes) -> Writer:
    """Many values in one group, as many as a packet holds: `k:1:2|ms` or `k:1|ms:2|ms`.

    `%b` in the separator stands for the key.
    """

    def write(key: bytes, entry: Entry) -> list[Group]:
        between = separator.replace(b"%b", key)
        texts = [_bytes(value) for value in entry.values]
        gap = len(between)
        room = MAX_PACKET - len(key) - len(b":") - len(end) + gap
        starts: list[int] = []
        left = 0
        for at, text in enumerate(texts):
            left -= len(text) + gap
            if left < 0:
                starts.append(at)
                left = room - len(text) - gap
        return [
            Group(
                b"%b:%b%b" % (key, between.join(texts[start:stop]), end),
                entry._replace(values=entry.values[start:stop]),
            )
            for start, stop in pairwise((*starts, len(texts)))
        ]

    return write


# Totals of one name stay in their order, in one packet: one that came late would look like a restart.
_totals = _joined(b"|C\n%b:", b"|C")
_COMMON: dict[str, Writer] = {INC: _line_each(b"c"), TOTAL: _totals, GAUGE: _gauge, DELTA: _delta}
_LINE_EACH: dict[str, Writer] = {**_COMMON, TIMING: _line_each(b"ms"), SET: _line_each(b"s")}
_PACKED: dict[str, Writer] = {**_LINE_EACH, TIMING: _joined(b":", b"|ms")}
_WRITERS: dict[str, dict[str, Writer]] = {
    ANY: _LINE_EACH,
    "strict": _PACKED,
    "dogstatsd": _PACKED,
    "etsy": {**_LINE_EACH, TIMING: _joined(b"|ms:", b"|ms")},
    "brubeck": _LINE_EACH,
    "collectd": _LINE_EACH,
}


@attrs.frozen(kw_only=True)
class Batch:
    """A client's tables of one flush, written for the receiver `dialect` under `prefix`."""

    entries: tuple[Entry, ...]
    prefix: str = ""
    dialect: str = attrs.field(default="strict", converter=receiver_name)

    def groups(self) -> Iterator[Group]:
        """Everything as lines of at most `MAX_PACKET` bytes, in the order of the entries."""
        writers = _WRITERS[self.dialect]
        start = join_name(self.prefix, "")
        for entry in self.entries:
            yield from writers[entry.kind]((start + entry.name).encode(), entry)

    def lines(self) -> Iterator[bytes]:
        for group in self.groups():
            yield from group.text.split(b"\n")


def pack_groups(groups: Iterable[Group], limit: int = MAX_PACKET) -> Iterator[tuple[bytes, list[Entry]]]:
    """Packets of whole groups, each with what it carries."""
    texts: list[bytes] = []
    entries: list[Entry] = []
    size = -1
    for text, entry in groups:
        if texts and size + 1 + len(text) > limit:
            yield b"\n".join(texts), entries
            texts, entries, size = [], [], -1
        texts.append(text)
        entries.append(entry)
        size += 1 + len(text)
    if texts:
        yield b"\n".join(texts), entries
