"""Knows how many bytes of unfinished frames all clients together have sent, and who goes first; not what is in them."""

from __future__ import annotations

from typing import Protocol

#: Bytes that all clients together may have here: four of the longest frames. The bound of one frame does not help
#: against many clients, each with the better part of one.
UNFINISHED_AT = 1 << 28


class Sending(Protocol):
    """A client in the middle of a frame."""

    def lose(self, why: str) -> None:
        """Disconnect it; ``why`` is for the log."""


class Unfinished:
    """Beyond ``UNFINISHED_AT`` whoever has been silent longest in the middle of a frame is lost."""

    def __init__(self) -> None:
        self._sizes: dict[Sending, int] = {}

    def __contains__(self, client: Sending) -> bool:
        return client in self._sizes

    def note(self, client: Sending, size: int) -> None:
        """``client`` has sent something, and so many bytes of an unfinished frame are here now."""
        self._sizes.pop(client, None)
        if size:
            self._sizes[client] = size  # last again: the first has been silent longest
        while len(self._sizes) > 1 and sum(self._sizes.values()) > UNFINISHED_AT:
            longest, left = next(iter(self._sizes.items()))
            del self._sizes[longest]
            longest.lose(f"it left {left} bytes of a frame unfinished, and memory for such is short")

    def drop(self, client: Sending) -> None:
        """It is gone."""
        self._sizes.pop(client, None)
