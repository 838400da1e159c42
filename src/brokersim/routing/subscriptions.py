"""Knows who on a rank wants which events, in the order they said so; not what an event is."""

from __future__ import annotations

from brokersim.routing.endpoint import Endpoint


class Subscriptions:
    """Topic prefixes and who wants them, one entry a subscription: two of one endpoint are two.

    Two lists and no pairs: of eight modules on each of thousands of ranks pairs would be a kilobyte a rank.
    """

    __slots__ = ("_endpoints", "_prefixes")

    def __init__(self) -> None:
        self._prefixes: list[str] = []
        self._endpoints: list[Endpoint] = []

    def add(self, prefix: str, endpoint: Endpoint) -> None:
        """One more; ``""`` is everything."""
        self._prefixes.append(prefix)
        self._endpoints.append(endpoint)

    def remove(self, prefix: str, endpoint: Endpoint) -> bool:
        """One less, the oldest; False if there is none."""
        for at, one in enumerate(self._endpoints):
            if one is endpoint and self._prefixes[at] == prefix:
                del self._prefixes[at], self._endpoints[at]
                return True
        return False

    def drop(self, endpoint: Endpoint) -> bool:
        """All of one that goes; False if it had none."""
        if endpoint not in self._endpoints:
            return False
        kept = [at for at, one in enumerate(self._endpoints) if one is not endpoint]
        self._prefixes = [self._prefixes[at] for at in kept]
        self._endpoints = [self._endpoints[at] for at in kept]
        return True

    def of(self, endpoint: Endpoint) -> list[str]:
        """The prefixes of one, oldest first."""
        return [self._prefixes[at] for at, one in enumerate(self._endpoints) if one is endpoint]

    def wanting(self, topic: str) -> list[Endpoint]:
        """Who wants it, each once, the oldest subscription first."""
        found = {
            endpoint: None
            for prefix, endpoint in zip(self._prefixes, self._endpoints, strict=True)
            if topic.startswith(prefix)
        }
        return list(found)
