"""Knows streams that are being answered by who asked for them; not what they tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from brokersim.protocol.message import Message


class Asked(Protocol):
    """A stream: ``msg`` is the request that asked for it."""

    msg: Message


S = TypeVar("S", bound=Asked)


class OpenStreams(Generic[S]):
    """Open streams by sender and matchtag, which is how a cancel names one (RFC 6).

    To find or to remove one takes the same time whatever else is open. Nothing is kept of a sender without any.
    """

    __slots__ = ("_by_sender", "_open")

    def __init__(self) -> None:
        #: In the order they were begun.
        self._open: dict[S, None] = {}
        # A client may use a matchtag twice; only one's own time is lost by it.
        self._by_sender: dict[str, dict[int, dict[S, None]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[S]:
        return iter(self._open)

    def add(self, stream: S) -> None:
        """From now on it is found."""
        self._open[stream] = None
        asked = stream.msg
        self._by_sender.setdefault(asked.sender, {}).setdefault(asked.matchtag, {})[stream] = None

    def remove(self, stream: S) -> None:
        """It has ended. Harmless if it is not there."""
        if stream not in self._open:
            return
        del self._open[stream]
        sender, matchtag = stream.msg.sender, stream.msg.matchtag
        tags = self._by_sender[sender]
        del tags[matchtag][stream]
        if not tags[matchtag]:
            del tags[matchtag]
        if not tags:
            del self._by_sender[sender]

    def find(self, sender: str, matchtag: int) -> tuple[S, ...]:
        """What a client asked for under a matchtag, the oldest first: nothing, or one where it keeps its tags apart."""
        return tuple(self._by_sender.get(sender, {}).get(matchtag, ()))

    def of(self, sender: str) -> tuple[S, ...]:
        """All that a client asked for."""
        return tuple(one for tagged in self._by_sender.get(sender, {}).values() for one in tagged)
