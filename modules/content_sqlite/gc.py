"""Knows the requests of who collects garbage (flux-core's ``flux gc``), and what must be so before one begins.

What is below an epoch and was not marked goes, also what clients stored for good: no root leads to it. What comes
again has to be stored again, so kvs and the content caches forget that it is here before the first root is looked at.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, blobref, errnums

from .batches import Batches

#: Blobs that one request may mark, and that one may drop; numbers one may look at: flux-core's, 16 to 100 ms each.
MARK_MAX: Final = 16_384
DELETE_MAX: Final = 10_000
WINDOW_MAX: Final = 1_000_000
#: Who keeps in mind what was stored. The cache first: what kvs has under way ends before it answers.
_HOLDERS: Final = ("content.store-anew", "kvs.store-anew")
#: What a column holds.
Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Info(msgspec.Struct):
    """content-backing.gc-info: with the number of blobs older than an epoch, which costs a look at all of them."""

    epoch: Number
    get_count: bool = False


class Mark(msgspec.Struct):
    """content-backing.mark: blobrefs that are as young as an epoch from now on."""

    epoch: Number
    hashes: list[str]


class Sweep(msgspec.Struct):
    """content-backing.sweep: blobs older than an epoch, numbers ``cursor`` < number <= ``high_water``.

    ``delete_cap`` blobs at most go, ``window`` numbers at most are looked at: the answer says where to go on.
    """

    epoch: Number
    cursor: Number
    high_water: Number
    delete_cap: Number
    window: Number


class Garbage:
    """Answers for one store. Each method raises RequestError for a malformed request and a fault of the store."""

    def __init__(self, handle: Handle, store: Batches) -> None:
        self._handle = handle
        self._store = store

    def info(self, msg: Message) -> None:
        """The epoch and the highest number of a blob, once nobody takes older blobs for stored any more."""
        self._tell(0, msg, msg.unpack(Info))

    def _tell(self, at: int, msg: Message, wish: Info) -> None:
        if at == len(_HOLDERS):
            self._answer(msg, wish)
        else:
            self._handle.request(_HOLDERS[at], None, self._told, (at, msg, wish))

    def _told(self, response: Message, asked: tuple[int, Message, Info]) -> None:
        at, msg, wish = asked
        if response.errnum in (0, errnums.ENOSYS):  # who is not there holds nothing
            self._tell(at + 1, msg, wish)
        else:
            self._handle.respond_error(msg, response.errnum, response.payload_str or "")

    def _answer(self, msg: Message, wish: Info) -> None:
        try:
            found: dict[str, Any] = {
                "current_epoch": self._store.epoch,
                "high_water": self._store.high_water(),
            }
            if wish.get_count:
                found["candidates"] = self._store.older(wish.epoch)
        except RequestError as error:
            self._handle.respond_error(msg, error.errno or errnums.EIO, error.text)
        else:
            self._handle.respond(msg, found)

    def mark(self, msg: Message) -> None:
        """Answered with how many of the blobs there are; EINVAL for too many, EPROTO for what is no blobref."""
        wish = msg.unpack(Mark)
        if len(wish.hashes) > MARK_MAX:
            text = f"mark request of {len(wish.hashes)} hashes exceeds limit of {MARK_MAX}"
            raise RequestError(errnums.EINVAL, text)
        wrong = next((ref for ref in wish.hashes if not blobref.is_blobref(ref)), None)
        if wrong is not None:
            raise RequestError(errnums.EPROTO, f"mark: {wrong!r} is no blobref; give sha1-HEX")
        digests = [blobref.digest(ref) for ref in wish.hashes]
        self._handle.respond(msg, {"marked": self._store.mark(wish.epoch, digests)})

    def sweep(self, msg: Message) -> None:
        """Answered with how many blobs went and the number to go on from; EINVAL for limits that allow none."""
        wish = msg.unpack(Sweep)
        if min(wish.cursor, wish.high_water) < 0 or min(wish.delete_cap, wish.window) < 1:
            raise RequestError(
                errnums.EINVAL, "sweep: cursor and high_water are 0 or more, delete_cap and window 1"
            )
        last = min(wish.cursor + min(wish.window, WINDOW_MAX), wish.high_water)
        count = min(wish.delete_cap, DELETE_MAX)
        deleted, cursor = self._store.sweep(wish.epoch, wish.cursor, last, count)
        self._handle.respond(msg, {"deleted": deleted, "cursor": cursor})
