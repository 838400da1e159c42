"""Knows what a watcher is told of the values found commit by commit; no messages, no order, no roots.

One class a kind of watch. Source: flux-core 0.88's kvs-watch as observed.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from brokersim.brokermod import errnums, treeobj

from .messages import APPEND, FULL, STREAM, UNIQ, WAITCREATE, WATCH


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Tree objects to send, and blobrefs (text) whose blobs are to be loaded and sent as vals, in this order.

    ``errnum`` ends the watch behind them; ``is_last`` ends it without a word.
    """

    values: tuple[treeobj.TreeObj | str, ...] = ()
    errnum: int = 0
    text: str = ""
    is_last: bool = False


NOTHING: Final = Answer()


class Answers(Protocol):
    """What a watch remembers between two values."""

    def heed(self, found: treeobj.TreeObj) -> Answer:
        """What to say now that the key has this value."""


class Always:
    """WATCH: every commit that names the key is answered, whether its value changed or not."""

    def heed(self, found: treeobj.TreeObj) -> Answer:
        return Answer(values=(found,))


class WhenChanged:
    """FULL and UNIQ: only values that differ from the last one sent."""

    def __init__(self) -> None:
        self._last: treeobj.TreeObj | None = None

    def heed(self, found: treeobj.TreeObj) -> Answer:
        if found == self._last:
            return NOTHING
        self._last = found
        return Answer(values=(found,))


class Appended:
    """APPEND: only what was added, one response a blob. A value that was replaced or has shrunk ends it: EINVAL."""

    def __init__(self) -> None:
        self._seen = 0

    def heed(self, found: treeobj.TreeObj) -> Answer:
        kind = found["type"]
        if kind == "valref":
            return self._grown(found["data"])
        if kind != "val":
            # What was a value is none any more: to flux-core an invalid one, where the first look says EISDIR.
            is_dir = kind in ("dir", "dirref") and not self._seen
            errnum = errnums.EISDIR if is_dir else errnums.EINVAL
            return Answer(errnum=errnum, text=f"{kind} cannot be watched with WATCH_APPEND")
        if self._seen:
            return Answer(errnum=errnums.EINVAL, text="value of key watched with WATCH_APPEND overwritten")
        self._seen = 1
        return Answer(values=(found,))

    def _grown(self, refs: list[str]) -> Answer:
        if len(refs) < self._seen:
            return Answer(errnum=errnums.EINVAL, text="key watched with WATCH_APPEND shortened")
        added = tuple(refs[self._seen :])
        self._seen = len(refs)
        return Answer(values=added)


class Streamed:
    """STREAM: the value there is now, one response a blob, and the end."""

    def heed(self, found: treeobj.TreeObj) -> Answer:
        kind = found["type"]
        if kind not in ("val", "valref"):
            errnum = errnums.EISDIR if kind in ("dir", "dirref") else errnums.EINVAL
            return Answer(errnum=errnum, text=f"{kind} cannot be streamed")
        return Answer(values=(found,) if kind == "val" else tuple(found["data"]), errnum=errnums.ENODATA)


class Once:
    """WAITCREATE alone: one response, as soon as there is a value."""

    def heed(self, found: treeobj.TreeObj) -> Answer:
        return Answer(values=(found,), is_last=True)


def answers_for(flags: int) -> Answers:
    """What a watch with these (checked) flags is told."""
    if flags & (FULL | UNIQ):
        return WhenChanged()
    if flags & APPEND:
        return Appended()
    if flags & STREAM:
        return Streamed()
    if flags & WAITCREATE and not flags & WATCH:
        return Once()
    return Always()
