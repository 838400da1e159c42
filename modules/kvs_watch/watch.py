"""Knows one watch: its look-ups in commit order, and its responses; not when a commit concerns it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from brokersim.brokermod import Handle, Message, RequestError, blobref, errnums, treeobj

from .answers import answers_for
from .messages import (
    APPEND,
    LOOKUP_FLAGS,
    SENTINEL,
    STREAM,
    TREEOBJ,
    WAITCREATE,
    Root,
    WatchRequest,
    plain_key,
)


class _Slot:
    """One request on its way; kept in commit order, because answers may overtake each other."""

    __slots__ = ("is_blob", "is_sentinel", "response")

    def __init__(self, is_blob: bool, response: Message | None = None, is_sentinel: bool = False) -> None:
        self.is_blob = is_blob
        self.is_sentinel = is_sentinel
        self.response = response


class Watch:
    """One kvs-watch.lookup under way. Values go out in commit order; ``ended`` is called once, at its end."""

    __slots__ = ("_answers", "_ended", "_handle", "_lookup_flags", "_owes_sentinel", "_slots", "flags",
                 "has_answered", "is_done", "key", "msg", "rootseq")  # fmt: skip

    def __init__(
        self, handle: Handle, msg: Message, request: WatchRequest, ended: Callable[[Watch], None]
    ) -> None:
        self._handle = handle
        self._ended = ended
        self.msg = msg
        self.key = plain_key(request.key)
        self.flags = request.flags
        self._lookup_flags = request.flags & LOOKUP_FLAGS
        if request.flags & (APPEND | STREAM):
            self._lookup_flags |= TREEOBJ  # the blobs of a value are wanted, not the value
        self._answers = answers_for(request.flags)
        self._slots: deque[_Slot] = deque()
        self._owes_sentinel = bool(request.flags & SENTINEL)
        self.rootseq = -1
        self.has_answered = False
        self.is_done = False

    @property
    def waits_for_creation(self) -> bool:
        """That there is nothing yet is no error to it."""
        return bool(self.flags & WAITCREATE) and not self.has_answered

    def look(self, namespace: str, root: Root) -> None:
        """Ask kvs what the key is under a root, as the one who watches: links may lead where that one may not go."""
        self.rootseq = root.rootseq
        wish = {
            "key": self.key,
            "namespace": namespace,
            "flags": self._lookup_flags,
            "rootdir": treeobj.known_dirref(root.rootref),
        }
        slot = _Slot(is_blob=False)
        self._slots.append(slot)
        self._handle.request("kvs.lookup", wish, self._answered, slot, cred=self.msg)

    def finish(self, errnum: int, text: str = "") -> None:
        """End the stream with an errnum."""
        if not self.is_done:
            self._handle.respond_error(self.msg, errnum, text)
            self.drop()

    def drop(self) -> None:
        """End without a word."""
        if not self.is_done:
            self.is_done = True
            self._slots.clear()
            self._ended(self)

    def _answered(self, response: Message, slot: _Slot) -> None:
        slot.response = response
        slots = self._slots
        while slots and (found := slots[0].response) is not None:
            first = slots.popleft()
            if first.is_sentinel:
                self._handle.respond(self.msg)
                continue
            try:
                if first.is_blob:
                    self._send_blob(found)
                else:
                    self._heed(found)
            except RequestError as error:
                self.finish(error.errno or errnums.EIO, error.text)

    def _heed(self, response: Message) -> None:
        if response.errnum == errnums.ENOENT and self.waits_for_creation:
            self._slots.extendleft(self._sentinel(response))
            return
        if response.errnum:
            self.finish(response.errnum, response.payload_str or "")
            return
        answer = self._answers.heed(response.payload["val"])
        refs: list[str] = []
        for value in answer.values:
            if isinstance(value, str):
                refs.append(value)
            else:
                self._send(value)
        slots = loads = [_Slot(is_blob=True) for _ in refs]
        if answer.errnum:
            slots = [*loads, self._end_slot(answer.errnum, answer.text)]
        if self._owes_sentinel:
            slots = [*slots, *self._sentinel(response)]
        self._slots.extendleft(reversed(slots))  # in front of look-ups for later commits
        for slot, ref in zip(loads, refs, strict=True):
            self._handle.request("content.load", blobref.digest(ref), self._answered, slot)
        if answer.is_last:
            self.drop()

    def _end_slot(self, errnum: int, text: str) -> _Slot:
        """The end comes behind the blobs that are being loaded."""
        return _Slot(True, Message(3, "kvs-watch.lookup", text or None, errnum=errnum))

    def _sentinel(self, response: Message) -> list[_Slot]:
        """The sentinel, once: it comes behind what the first look-up found."""
        if not self._owes_sentinel:
            return []
        self._owes_sentinel = False
        return [_Slot(False, response, is_sentinel=True)]

    def _send_blob(self, response: Message) -> None:
        if response.errnum:
            self.finish(response.errnum, response.payload_str or "")
            return
        self._send(treeobj.val(response.raw))

    def _send(self, value: treeobj.TreeObj) -> None:
        self.has_answered = True
        self._handle.respond(self.msg, {"val": value})
