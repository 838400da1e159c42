"""Knows who on a rank wants which events, in the order they said so; not what an event is."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from itertools import chain
from operator import itemgetter
from typing import Final

from brokersim.routing.endpoint import Endpoint, Handler

#: Endpoints on one rank that want an event, and what it is given to of each. Two tuples and no pairs: those would be
#: half a kilobyte a rank, and as much to be read for each event.
Subscribers = tuple[tuple[Endpoint, ...], tuple[Handler, ...]]
#: Topics whose subscribers are remembered, so that a flood of one-time topics costs look-ups, not memory. A job has
#: three of its own and subscribes to them, for which those remembered are looked through: so few more than are usual.
_KNOWN_MAX = 64
#: Subscriptions that are looked through one by one: lean ranks have few, and no table beside them.
FEW: Final = 16


class Subscriptions:
    """Topic prefixes and who wants them, one entry a subscription: two of one endpoint are two.

    Two lists and no pairs: of eight modules on each of thousands of ranks pairs would be a kilobyte a rank.
    """

    __slots__ = ("_endpoints", "_prefixes", "_table", "known")

    def __init__(self) -> None:
        #: The subscribers of topics that were looked for.
        self.known: dict[str, Subscribers] = {}
        self._prefixes: list[str] = []
        self._endpoints: list[Endpoint] = []
        self._table: _Table | None = None

    def add(self, prefix: str, endpoint: Endpoint) -> None:
        """One more; ``""`` is everything."""
        self._prefixes.append(prefix)
        self._endpoints.append(endpoint)
        if self._table is not None:
            self._table.add(prefix, endpoint)
        self._forget(prefix)

    def remove(self, prefix: str, endpoint: Endpoint) -> bool:
        """One less, the oldest; False if there is none."""
        at = -1
        while True:
            try:
                at = self._prefixes.index(prefix, at + 1)
            except ValueError:
                return False
            if self._endpoints[at] is endpoint:
                self._delete(at)
                self._forget(prefix)
                return True

    def drop(self, endpoint: Endpoint) -> None:
        """All of one that goes."""
        while endpoint in self._endpoints:
            self._delete(self._endpoints.index(endpoint))
            self.known.clear()

    def _delete(self, at: int) -> None:
        if self._table is not None:
            self._table.remove(self._prefixes[at], self._endpoints[at])
        del self._prefixes[at], self._endpoints[at]

    def _forget(self, prefix: str) -> None:
        """Who wants the events of that prefix has changed; who wants others is still known."""
        for topic in [topic for topic in self.known if topic.startswith(prefix)]:
            del self.known[topic]

    def of(self, endpoint: Endpoint) -> list[str]:
        """The prefixes of one, oldest first."""
        return [self._prefixes[at] for at, one in enumerate(self._endpoints) if one is endpoint]

    def subscribers(self, topic: str) -> Subscribers:
        """Who wants it, and what of each it is given to; known from now on, while handlers stay as they are."""
        wanted = tuple(self.wanting(topic))
        found = wanted, tuple([endpoint.event_handler(topic) for endpoint in wanted])
        if len(self.known) >= _KNOWN_MAX:
            self.known.clear()
        self.known[topic] = found
        return found

    def wanting(self, topic: str) -> list[Endpoint]:
        """Who wants it, each once, the oldest subscription first."""
        if len(self._prefixes) <= FEW:
            self._table = None
            found = [
                self._endpoints[at] for at, prefix in enumerate(self._prefixes) if topic.startswith(prefix)
            ]
        else:
            if self._table is None:
                self._table = _Table(zip(self._prefixes, self._endpoints, strict=True))
            found = self._table.find(topic)
        return list(dict.fromkeys(found))


class _Table:
    """The same subscriptions by prefix: a topic is looked for once for each length that those of its service have."""

    __slots__ = ("_by_prefix", "_lengths", "_number", "_of_length")

    def __init__(self, subscriptions: Iterable[tuple[str, Endpoint]]) -> None:
        #: Each with its place in the order they came.
        self._by_prefix: dict[str, list[tuple[int, Endpoint]]] = {}
        self._number = 0
        #: By service, ``""`` for those that end before its dot: how many prefixes have a length, and the lengths.
        self._of_length: dict[tuple[str, int], int] = {}
        self._lengths: dict[str, list[int]] = {"": []}
        for prefix, endpoint in subscriptions:
            self.add(prefix, endpoint)

    def add(self, prefix: str, endpoint: Endpoint) -> None:
        self._number += 1
        same = self._by_prefix.get(prefix)
        if same is not None:
            same.append((self._number, endpoint))
            return
        self._by_prefix[prefix] = [(self._number, endpoint)]
        kind = service, length = _service(prefix), len(prefix)
        if kind not in self._of_length:
            insort(self._lengths.setdefault(service, []), length)
        self._of_length[kind] = self._of_length.get(kind, 0) + 1

    def remove(self, prefix: str, endpoint: Endpoint) -> None:
        """The oldest of these two, of which there is one."""
        same = self._by_prefix[prefix]
        del same[next(at for at, (_, one) in enumerate(same) if one is endpoint)]
        if same:
            return
        del self._by_prefix[prefix]
        kind = service, length = _service(prefix), len(prefix)
        self._of_length[kind] -= 1
        if not self._of_length[kind]:
            del self._of_length[kind]
            self._lengths[service].remove(length)
            if service and not self._lengths[service]:
                del self._lengths[service]

    def find(self, topic: str) -> list[Endpoint]:
        """Whose prefixes a topic has, in the order they came."""
        longest, by_prefix, lengths = len(topic), self._by_prefix, self._lengths
        service = _service(topic)
        found = [
            same
            for end in ([*lengths[""], *lengths.get(service, ())] if service else lengths[""])
            if end <= longest and (same := by_prefix.get(topic[:end])) is not None
        ]
        if len(found) == 1:
            return [endpoint for _, endpoint in found[0]]
        return [endpoint for _, endpoint in sorted(chain.from_iterable(found), key=_number)]


def _service(topic: str) -> str:
    """What stands before the first dot; ``""`` if there is none."""
    return topic.partition(".")[0] if "." in topic else ""


_number = itemgetter(0)
