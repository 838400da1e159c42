"""Knows how a log that grows no more is read: a long one object by object, as it was appended; not who asked for it."""

from __future__ import annotations

from collections import deque

from brokersim.brokermod import Handle, Message, blobref, errnums, treeobj

from .follow import OnEnd, OnLine

#: Flag of kvs.lookup: what a value is made of is wanted, not the value.
_TREEOBJ = 16
#: Bytes of a log that is read in one answer, as Flux reads all: nearly every log there is.
WHOLE_MAX = 1 << 20


class Copy:
    """A key of the primary namespace, but for its first lines; ``on_end`` is told 0 at the end, or what was wrong.

    A long one never as one value: the output of a job may be 100 MiB, of which an answer would be made four times over,
    in calls that hold the whole broker for seconds.
    """

    __slots__ = ("_handle", "_key", "_known", "_on_end", "_on_line", "_part", "_refs", "is_done")

    def __init__(self, handle: Handle, key: str, known: int, on_line: OnLine, on_end: OnEnd) -> None:
        """``known``: so many lines need not be told."""
        self._handle = handle
        self._key = key
        self._known = known
        self._on_line = on_line
        self._on_end = on_end
        self._part = b""
        self._refs: deque[str] = deque()
        self.is_done = False
        self._look_up(0)

    def drop(self) -> None:
        """Stop without a word."""
        self.is_done = True

    def _look_up(self, flags: int) -> None:
        wish = {"key": self._key, "namespace": "primary", "flags": flags, "value_max": WHOLE_MAX}
        self._handle.request("kvs.lookup", wish, self._found)

    def _found(self, response: Message, _arg: None) -> None:
        if response.errnum == errnums.EFBIG and not self.is_done:
            self._look_up(_TREEOBJ)
            return
        if self._is_bad(response):
            return
        entry = response.payload["val"]
        if entry["type"] == "val":
            self._take(treeobj.val_bytes(entry))
        elif entry["type"] == "valref":
            self._refs.extend(entry["data"])
        else:
            self._end(errnums.EISDIR)
            return
        self._load()

    def _load(self) -> None:
        """The next object, when the one before is told: no more than one is on its way."""
        if self.is_done:
            return
        if self._refs:
            self._handle.request("content.load", blobref.digest(self._refs.popleft()), self._loaded)
        else:
            self._end(0)

    def _loaded(self, response: Message, _arg: None) -> None:
        if not self._is_bad(response):
            self._take(response.raw)
            self._load()

    def _is_bad(self, response: Message) -> bool:
        """Nothing is to be done with it, or it ends the reading."""
        if response.errnum and not self.is_done:
            self._end(response.errnum)
        return self.is_done

    def _end(self, errnum: int) -> None:
        self.is_done = True
        self._on_end(errnum)

    def _take(self, data: bytes) -> None:
        count = data.count(b"\n")
        if count and count <= self._known:  # nothing of it is wanted but what stands behind its last line end
            self._known -= count
            self._part = data[data.rfind(b"\n") + 1 :]
            return
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines[self._known :]:
            self._on_line(f"{line.decode(errors='replace')}\n")
            if self.is_done:
                return
        self._known = max(0, self._known - len(lines))
