"""Knows the log of resources (RFC 28): what is kept in the KVS, and who follows it; not what its events mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from brokersim.brokermod import Handle, Message, errnums, ranks, treeobj

Event: TypeAlias = dict[str, Any]
#: Events remembered; older ones stand in the KVS only.
EVENTS_MAX: Final = 100_000
_APPEND: Final = 32
_DEFINE: Final = "resource-define"
_BATCH: Final = 100
#: Seconds between two events of one moment.
_APART: Final = 1e-6


def define_event(now: float, method: str) -> Event:
    """The resources are known, by whose word."""
    return {"timestamp": now, "name": _DEFINE, "context": {"method": method}}


class ResourceLog:
    """Events in memory and, those that are kept, in the KVS; without a KVS only in memory."""

    KEY: Final = "resource.eventlog"

    __slots__ = ("_events", "_followers", "_handle", "_r")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._events: list[Event] = []
        self._followers: list[Message] = []
        self._r: dict[str, Any] = {}

    def restore(self, log: bytes) -> list[Event]:
        """Take in what the KVS has; its events. Raises ValueError for a line that is none."""
        for number, line in enumerate(log.splitlines(), 1):
            event = msgspec.json.decode(line)
            if not isinstance(event, dict) or not {"timestamp", "name"} <= event.keys():
                raise ValueError(f"line {number} is no event with a timestamp and a name: {line[:60]!r}")
            if event["name"] != _DEFINE:  # what the resources were in an earlier life
                self._events.append(event)
        return list(self._events)

    def begin(self, r: dict[str, Any], online: str, nodelist: str, method: str) -> dict[str, Any]:
        """A new life: which nodes there are, then that they are there, the first one first.

        What of it is kept, where somebody keeps it: the operation of a commit that tells where R is from.
        """
        now = self._handle.time()
        first, *rest = ranks.parse_ranks(online, EVENTS_MAX)
        self._add({"timestamp": now, "name": "restart", "context": {
            "ranks": online, "online": "", "nodelist": nodelist}})  # fmt: skip
        self._add({"timestamp": now, "name": "online", "context": {"idset": str(first)}})
        event = define_event(now, method)
        self.define(event, r)
        if rest:
            self._add({"timestamp": now, "name": "online", "context": {"idset": ranks.format_ranks(rest)}})
        return self.operation(event)

    def define(self, event: Event, r: dict[str, Any]) -> None:
        """The resources are others."""
        self._r = r
        self._add(event)

    def operation(self, event: Event) -> dict[str, Any]:
        """What a commit does that keeps an event."""
        line = msgspec.json.encode(event) + b"\n"
        return {"key": self.KEY, "flags": _APPEND, "dirent": treeobj.val(line)}

    def post(self, now: float, name: str, context: dict[str, Any], msg: Message | None = None) -> None:
        """An event that is kept; ``msg`` is answered when it is."""
        event = {"timestamp": now, "name": name, "context": context}
        commit = {"namespace": "primary", "flags": 0, "ops": [self.operation(event)]}
        self._handle.request("kvs.commit", commit, self._posted, (msg, event))

    def _posted(self, response: Message, arg: tuple[Message | None, Event]) -> None:
        msg, event = arg
        if response.errnum not in (0, errnums.ENOSYS):
            if msg is not None:
                self._handle.respond_error(msg, response.errnum, response.payload_str or "")
            return
        if msg is not None:
            self._handle.respond(msg)
        self._add(event)

    def _add(self, event: Event) -> None:
        """Its time is behind the last one's: who has read so far goes on from there (``since``)."""
        if self._events and event["timestamp"] <= self._events[-1]["timestamp"]:
            event = {**event, "timestamp": self._events[-1]["timestamp"] + _APART}
        self._events.append(event)
        del self._events[:-EVENTS_MAX]
        for msg in self._followers:
            self._send(msg, [event])

    # -- who follows

    def follow(self, msg: Message) -> None:
        """All events so far, an empty answer, then each as it comes."""
        for batch in self._batches():
            self._send(msg, batch)
        self._handle.respond(msg, {"events": []})
        self._followers.append(msg)

    def _batches(self) -> Iterable[list[Event]]:
        """R goes out with the event that defines it, which so stands alone."""
        batch: list[Event] = []
        for event in self._events:
            if event["name"] == _DEFINE:
                yield batch
                yield [event]
                batch = []
                continue
            batch.append(event)
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        yield batch

    def _send(self, msg: Message, events: list[Event]) -> None:
        if not events:
            return
        defines = events[0]["name"] == _DEFINE
        self._handle.respond(msg, {"events": events, **({"R": self._r} if defines else {})})

    def leave(self, sender: str) -> None:
        """A client went."""
        self._followers = [msg for msg in self._followers if msg.sender != sender]

    def cancel(self, sender: str, matchtag: int) -> None:
        """End one stream on its client's wish."""
        for msg in self._followers:
            if (msg.sender, msg.matchtag) == (sender, matchtag):
                self._followers.remove(msg)
                self._handle.respond_error(msg, errnums.ENODATA)
                return
