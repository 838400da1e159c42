"""Knows who is answered when the commits have ended that were on their way when it asked."""

from __future__ import annotations

from brokersim.brokermod import Handle, Message

from .namespaces import Namespace


class Endings:
    """True while somebody waits."""

    __slots__ = ("_handle", "_waiting")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        #: Each with the namespaces that were busy then, and have been since.
        self._waiting: list[tuple[Message, set[str]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, msg: Message, busy: set[str]) -> None:
        """Answered when none of these is busy with what it is now."""
        if busy:
            self._waiting.append((msg, busy))
        else:
            self._handle.respond(msg)

    def ended(self, namespace: Namespace) -> None:
        """A commit has; whether another has begun since, the namespace tells."""
        if namespace.busy:
            return
        for ending in self._waiting.copy():
            msg, busy = ending
            busy.discard(namespace.name)
            if not busy:
                self._waiting.remove(ending)
                self._handle.respond(msg)
