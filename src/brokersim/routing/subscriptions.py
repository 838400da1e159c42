"""Knows who on a rank wants which events, in the order they said so; not what an event is."""

from __future__ import annotations

from typing import Final

from brokersim.routing.endpoint import Endpoint

#: Subscriptions that are looked through one by one: lean ranks have few, and no table beside them.
FEW: Final = 16


class Subscriptions:
    """Topic prefixes and who wants them, one entry a subscription: two of one endpoint are two.

    Two lists and no pairs: of eight modules on each of thousands of ranks pairs would be a kilobyte a rank.
    """

    __slots__ = ("_endpoints", "_lengths", "_places", "_prefixes")

    def __init__(self) -> None:
        self._prefixes: list[str] = []
        self._endpoints: list[Endpoint] = []
        #: Where in the lists each prefix stands, and how long prefixes are, made when asked for: each job's events have
        #: topics of their own.
        self._places: dict[str, list[int]] | None = None
        self._lengths: list[int] = []

    def add(self, prefix: str, endpoint: Endpoint) -> None:
        """One more; ``""`` is everything."""
        self._places = None
        self._prefixes.append(prefix)
        self._endpoints.append(endpoint)

    def remove(self, prefix: str, endpoint: Endpoint) -> bool:
        """One less, the oldest; False if there is none."""
        for at, one in enumerate(self._endpoints):
            if one is endpoint and self._prefixes[at] == prefix:
                del self._prefixes[at], self._endpoints[at]
                self._places = None
                return True
        return False

    def drop(self, endpoint: Endpoint) -> bool:
        """All of one that goes; False if it had none."""
        if endpoint not in self._endpoints:
            return False
        kept = [at for at, one in enumerate(self._endpoints) if one is not endpoint]
        self._prefixes = [self._prefixes[at] for at in kept]
        self._endpoints = [self._endpoints[at] for at in kept]
        self._places = None
        return True

    def of(self, endpoint: Endpoint) -> list[str]:
        """The prefixes of one, oldest first."""
        return [self._prefixes[at] for at, one in enumerate(self._endpoints) if one is endpoint]

    def wanting(self, topic: str) -> list[Endpoint]:
        """Who wants it, each once, the oldest subscription first."""
        if len(self._prefixes) <= FEW:
            places = [at for at, prefix in enumerate(self._prefixes) if topic.startswith(prefix)]
        else:
            places = self._find(topic)
        return list(dict.fromkeys([self._endpoints[at] for at in places]))

    def _find(self, topic: str) -> list[int]:
        """The places of all prefixes of a topic: one look-up for each length there is."""
        places = self._places
        if places is None:
            places = self._places = {}
            for at, prefix in enumerate(self._prefixes):
                places.setdefault(prefix, []).append(at)
            self._lengths = sorted({len(prefix) for prefix in places})
        longest = len(topic)
        found = [places[topic[:end]] for end in self._lengths if end <= longest and topic[:end] in places]
        return sorted([at for some in found for at in some])
