"""Knows which events each rank handed out and each subscriber was given, and what is wrong with that.

It doesn't know who subscribed to what: it is told whom an event goes to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import attrs

from brokersim.protocol.message import Message


@attrs.define(eq=False)
class _Subscriber:
    """The events on their way to one endpoint, in order: (sequence number, topic)."""

    endpoint: Any
    due: deque[tuple[int, str]] = attrs.field(factory=deque)


class Deliveries:
    """The book of events: sequence numbers by rank, and what every subscriber still has to get."""

    def __init__(self, last_seq: int) -> None:
        self.complaints: list[str] = []
        #: Deliveries a fault disturbed: (endpoint, sequence number).
        self.excused: dict[tuple[str, int], None] = {}
        self._first = last_seq
        self._sequence: dict[int, int] = {}
        self._cut_off: dict[int, None] = {}
        self._subscribers: dict[str, _Subscriber] = {}

    def excuse(self, endpoint: Any, seq: int) -> None:
        """A fault hit this event on its way to an endpoint."""
        self.excused[endpoint.uuid, seq] = None

    def cut_off(self, ranks: Iterable[int]) -> None:
        """A fault keeps events from these ranks: from now on they may miss some."""
        self._cut_off |= dict.fromkeys(ranks)

    def joined(self, ranks: Iterable[int], above: int) -> None:
        """These are there anew, and will hand out what ``above``, of which they are below, hands out from now on."""
        seen = self._sequence.get(above, self._first)
        for rank in ranks:
            self._cut_off.pop(rank, None)
            self._sequence[rank] = seen

    @property
    def is_cut_off(self) -> bool:
        """Some rank does not get its events."""
        return bool(self._cut_off)

    def distributed(self, rank: int, event: Message, endpoints: Iterable[Any]) -> None:
        """A rank hands an event out to these endpoints."""
        last = self._sequence.get(rank, self._first)
        self._sequence[rank] = max(last, event.seq)
        if event.seq != last + 1 and rank not in self._cut_off:
            what = "again" if event.seq == last else f"after event {last}"
            self.complaints.append(f"rank {rank} handed out event {event.seq} ({event.topic}) {what}")
        for endpoint in endpoints:
            found = self._subscribers.get(endpoint.uuid)
            if found is None:
                found = self._subscribers[endpoint.uuid] = _Subscriber(endpoint)
            found.due.append((event.seq, event.topic))

    def delivered(self, endpoint: Any, event: Message, _when: float = 0.0) -> None:
        """An endpoint was given an event."""
        item = (event.seq, event.topic)
        found = self._subscribers.get(endpoint.uuid)
        due = found.due if found is not None else deque[tuple[int, str]]()
        if due and due[0] == item:
            due.popleft()
            return
        if item in due:
            due.remove(item)
            how = "before an earlier one"
        else:
            how = "once too often"
        if (endpoint.uuid, event.seq) not in self.excused:
            self.complaints.append(f"{_name(endpoint)} was given event {event.seq} ({event.topic}) {how}")

    def missing(self, last_seq: int) -> list[str]:
        """Events that did not arrive at subscribers that are there, or at whole ranks."""
        lost = [
            f"{_name(subscriber.endpoint)} was never given event {seq} ({topic})"
            for subscriber in self._subscribers.values()
            if subscriber.endpoint in subscriber.endpoint.broker.endpoints
            for seq, topic in subscriber.due
            if (subscriber.endpoint.uuid, seq) not in self.excused
        ]
        behind = [
            f"rank {rank} never handed out events {seq + 1} to {last_seq}"
            for rank, seq in self._sequence.items()
            if seq < last_seq and rank not in self._cut_off
        ]
        return lost + behind


def _name(endpoint: Any) -> str:
    return f"{endpoint.name}.{endpoint.broker.rank}"
