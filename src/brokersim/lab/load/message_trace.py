"""Knows a recorded ``module trace --full --json``: what was asked and answered; not how it is sent again.

A line has no matchtag, so an answer belongs to the oldest open request for its topic at its module. Imports no trio.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import msgspec

from brokersim import files
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import ENODATA
from brokersim.protocol.topic import service_of

_REQUEST, _RESPONSE = 1, 2
#: Sent by a connection that ends and by `module` commands: sending them again would meddle with the instance.
_ADMINISTRATION = (".disconnect", ".cancel", ".debug", ".shutdown", ".stats-get", ".stats-clear")


class TraceError(ValueError):
    """A line that is no record of a trace: which file and line, and what would be right."""


class _Record(msgspec.Struct):
    """The fields of a record that are used; a trace may have more."""

    timestamp: float
    prefix: str
    name: str
    type: int
    topic: str
    payload_size: int = 0
    payload: Json = None
    errnum: int = 0


_DECODER = msgspec.json.Decoder(_Record)


@attrs.define(kw_only=True)
class Asked:
    """One request: ``at`` s after the first, for whom, with what; how it was answered then, if that was seen."""

    at: float
    topic: str
    payload: Json
    is_streaming: bool = False
    is_answered: bool = False
    errnum: int = 0
    answer: Json = None
    took_s: float | None = None


@attrs.frozen(kw_only=True)
class MessageTrace:
    """The requests to send again, in order; ``left_out`` says what else there was: reason and how many."""

    requests: tuple[Asked, ...]
    left_out: dict[str, int]

    @property
    def span(self) -> float:
        return self.requests[-1].at if self.requests else 0.0


def read_trace(path: Path, services: tuple[str, ...] = (), limit: int | None = None) -> MessageTrace:
    """The requests of a trace, of some services only if any are named. Raises TraceError, OSError."""
    with path.open("rb") as file:
        return parse_trace(files.lines_of(file, path), str(path), services, limit)


def parse_trace(
    lines: Iterable[bytes], name: str = "-", services: tuple[str, ...] = (), limit: int | None = None
) -> MessageTrace:
    """Of lines. Requests that modules sent to each other are left out: they will send them again. Raises TraceError."""
    gathered = _Gathered(services)
    for record in _records(lines, name):
        gathered.take(record)
    return gathered.trace(limit)


def _records(lines: Iterable[bytes], name: str) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TraceError(
                f"{name}:{number}: no record of a trace: {error}; record one with: "
                "brokersim module trace --full --json > FILE"
            ) from None


class _Gathered:
    """Requests and answers as they come by."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self._sent: Counter[tuple[str, bytes]] = Counter()
        self._open: dict[tuple[str, str], deque[Asked | None]] = {}
        self._streams: dict[tuple[str, str], Asked] = {}
        self._start: float | None = None
        self._requests: list[Asked] = []
        self._left_out: Counter[str] = Counter()

    def take(self, record: _Record) -> None:
        if record.type == _REQUEST and record.prefix == "tx":
            self._sent[record.topic, _key(record)] += 1
        elif record.type == _REQUEST:
            asked = self._asked(record)
            self._open.setdefault((record.name, record.topic), deque()).append(asked)
            if asked is not None:
                self._requests.append(asked)
        elif record.type == _RESPONSE and record.prefix == "tx":
            self._answered(record)

    def trace(self, limit: int | None) -> MessageTrace:
        return MessageTrace(requests=tuple(self._requests[:limit]), left_out=dict(self._left_out))

    def _asked(self, record: _Record) -> Asked | None:
        reason = self._unwanted(record)
        if reason:
            self._left_out[reason] += 1
            return None
        if self._start is None:
            self._start = record.timestamp
        return Asked(at=max(0.0, record.timestamp - self._start), topic=record.topic, payload=record.payload)

    def _unwanted(self, record: _Record) -> str:
        key = (record.topic, _key(record))
        if self._sent[key]:
            self._sent[key] -= 1
            return "sent by a module"
        if record.topic.endswith(_ADMINISTRATION):
            return "administration"
        if self._services and service_of(record.topic) not in self._services:
            return "of other services"
        if record.payload is None and record.payload_size:
            return "payload not recorded (module trace --full) or no JSON"
        return ""

    def _answered(self, record: _Record) -> None:
        place = (record.name, record.topic)
        waiting = self._open.get(place)
        stream = self._streams.get(place)
        if stream is not None and (record.errnum == ENODATA or not waiting):
            # More than one answer, or an end without one: it was a stream.
            stream.is_streaming = True
            return
        if not waiting:
            return
        asked = waiting.popleft()
        if asked is None:
            return
        asked.is_answered = True
        asked.is_streaming = record.errnum == ENODATA
        asked.errnum, asked.answer = record.errnum, record.payload
        asked.took_s = record.timestamp - (self._start or 0.0) - asked.at
        self._streams[place] = asked


def _key(record: _Record) -> bytes:
    return msgspec.json.encode(record.payload, order="deterministic") + b"%d" % record.payload_size
