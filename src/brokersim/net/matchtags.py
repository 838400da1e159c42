"""The matchtags of one connection: which are in use, for what, and when one may be used again (RFC 6).

A tag answers to one request. It is free when the last response to that has come, or when nobody sent the request; a
request that nobody waits for any more keeps its tag until then, or the next request's answer could be taken for its.
"""

from __future__ import annotations

from brokersim.protocol.message import FLAG_NORESPONSE, FLAG_STREAMING, MATCHTAG_NONE, Message

# What a matchtag in use waits for.
_ONE, _STREAM, _NOBODY = range(3)
#: What a response means here: its tag asks nothing, somebody waits for it, or nobody does any more.
UNASKED, AWAITED, DROPPED = "unasked", "awaited", "dropped"


class Matchtags:
    """Tags are small and dense: freed ones are used again first, as upstream does."""

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}
        self._free: list[int] = []

    def __contains__(self, tag: int) -> bool:
        return tag in self._waiting

    @property
    def outstanding(self) -> int:
        """Requests that somebody waits for."""
        return sum(waiting != _NOBODY for waiting in self._waiting.values())

    def allot(self, flags: int) -> int:
        """A tag for a request with these flags, MATCHTAG_NONE if it wants no answer."""
        if flags & FLAG_NORESPONSE:
            return MATCHTAG_NONE
        tag = self._free.pop() if self._free else len(self._waiting) + 1
        self._waiting[tag] = _STREAM if flags & FLAG_STREAMING else _ONE
        return tag

    def release(self, tag: int) -> None:
        """Nothing more will come for it."""
        if self._waiting.pop(tag, None) is not None:
            self._free.append(tag)

    def give_up(self, tag: int) -> None:
        """Nobody waits for what still comes."""
        if tag in self._waiting:
            self._waiting[tag] = _NOBODY

    def is_stream(self, tag: int) -> bool:
        """Somebody waits for more than one response with it."""
        return self._waiting.get(tag) == _STREAM

    def arrives(self, response: Message) -> str:
        """UNASKED, AWAITED or DROPPED; the last response of what was given up frees its tag."""
        waiting = self._waiting.get(response.matchtag)
        if waiting is None:
            return UNASKED
        if waiting != _NOBODY:
            return AWAITED
        if response.errnum or not response.flags & FLAG_STREAMING:
            self.release(response.matchtag)
        return DROPPED

    def is_last(self, response: Message) -> bool:
        """No other response comes behind it."""
        return not self.is_stream(response.matchtag) or response.errnum != 0
