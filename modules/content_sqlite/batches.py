"""Knows which blobs wait to be written, when they make a batch and what is kept of each; not where they are written.

A stored blob is acknowledged from memory and written with others at once; ``flush`` is what makes it durable. A
write that fails loses nothing: blobs stay in memory, and new ones are refused until one works.
A blob that comes with what it differs in from one that is here is kept as that difference, as long as reading it does
not take too many steps: else a directory that grows would be kept whole at each change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final, TypeAlias

import msgspec

from brokersim.brokermod import RequestError, blobref, errnums

from .chains import CHAIN_MAX, Chains
from .patches import patched

_Blob: Final = blobref.Blob
#: Blobs in memory at which they are written at once: 4 ms for blobs of 1 KiB, and no gain beyond it.
BATCH_ROWS: Final = 1000
#: The same in bytes, so that large blobs do not pile up.
BATCH_BYTES: Final = 8 * 1024 * 1024
#: Checkpoints kept, unless told otherwise (flux-core 0.88).
CHECKPOINTS_MAX: Final = 5

#: A blob that waits: its bytes, or one that has a patch, which is what is kept.
Waiting: TypeAlias = bytes | blobref.Blob


class Batches(ABC):
    """Blobs by SHA-1 digest and the last checkpoints, on their way to where they are kept."""

    def __init__(
        self,
        path: str,
        longest: int,
        pending: dict[bytes, Waiting] | None = None,
        as_whole: Callable[[blobref.Blob], Waiting] = bytes,
    ) -> None:
        """``pending`` holds what a predecessor that crashed acknowledged and did not write.

        ``as_whole`` makes what is kept of a blob that is no difference: its bytes, or one without a patch.
        """
        #: Names the place in errors.
        self.path = path
        #: One blob too long would hold up its whole batch for ever, so it must not get in.
        self._longest = longest
        #: Blobs acknowledged but not yet written, by digest.
        self._pending: dict[bytes, Waiting] = {} if pending is None else pending
        self._pending_bytes = sum(map(len, self._pending.values()))
        #: Enough is waiting to be written at once.
        self.is_batch_full = len(self._pending) >= BATCH_ROWS or self._pending_bytes >= BATCH_BYTES
        self._as_whole = as_whole
        self._chains = Chains()
        #: Why the last batch could not be written, if it could not.
        self.failure: RequestError | None = None
        self.writes = 0
        self.checkpoints_max = CHECKPOINTS_MAX
        #: Number of the newest checkpoint: what is written now is not older than that, whoever collects garbage.
        self.epoch = 0

    # -- the place: each of these raises RequestError for a fault of it

    @abstractmethod
    def _put(self, blobs: dict[bytes, Waiting]) -> None:
        """Keep all of them or none."""

    @abstractmethod
    def _whole(self, digest: bytes) -> bytes | None:
        """A blob that is kept whole, None if there is none."""

    @abstractmethod
    def _patch(self, digest: bytes) -> blobref.Patch | None:
        """What a blob differs in from another, None if there is none that is kept this way."""

    @abstractmethod
    def _put_checkpoint(self, text: str, keep: int) -> None:
        """Keep a text, durably, and of those before it as many as make ``keep``."""

    @abstractmethod
    def _checkpoints(self) -> list[tuple[int, Any]]:
        """Number and text of what is kept, the newest first. Numbers grow and are not used again."""

    @abstractmethod
    def _size(self) -> int:
        """Bytes that all of it takes."""

    @abstractmethod
    def _count(self) -> int:
        """Blobs that were written."""

    @abstractmethod
    def _last_row(self) -> int:
        """The highest number that a blob kept whole has; numbers grow in the order of writing."""

    @abstractmethod
    def _older(self, epoch: int) -> int:
        """How many blobs were written, or marked, before an epoch only."""

    @abstractmethod
    def _mark(self, epoch: int, digests: list[bytes]) -> int:
        """Make blobs as young as that; how many of them there are."""

    @abstractmethod
    def _sweep(self, epoch: int, first: int, last: int, count: int) -> tuple[list[bytes], int]:
        """Drop older blobs, as many as ``count``: any difference, and what is kept whole under first < number <= last.

        Differences that stay are made whole if what they differ from goes. What went, and the number reached.
        """

    # -- blobs

    def store(self, data: bytes | blobref.Blob) -> bytes:
        """Keep a blob; its digest. Durable after ``flush``; refused while writing fails."""
        blob = data if type(data) is _Blob else blobref.as_blob(data)
        digest, size, pending = blob.digest, blob.size, self._pending
        if size > self._longest:
            raise RequestError(errnums.EFBIG, f"blob of {size} bytes, the limit of SQLite is {self._longest}")
        if self.failure is not None:
            raise RequestError(self.failure.errno or errnums.EIO, self.failure.text)
        if digest not in pending:
            source = blob.source
            if type(source) is bytes and blob.patch is None:
                # Nothing that grows is held as bytes, so nothing will differ from it.
                pending[digest] = source
            else:
                kept = pending[digest] = blob if self._chains.add(blob) else self._as_whole(blob)
                patch = kept.patch if isinstance(kept, _Blob) else None
                size = len(kept) if patch is None else len(patch.inserted)
            self._pending_bytes = size = self._pending_bytes + size
            if size >= BATCH_BYTES or len(pending) >= BATCH_ROWS:
                self.is_batch_full = True
        return digest

    @property
    def pending(self) -> int:
        """Blobs waiting to be written."""
        return len(self._pending)

    def load(self, digest: bytes) -> bytes:
        """The blob. Raises RequestError: ENOENT there is none, EIO what is stored has another hash."""
        pending = self._pending.get(digest)
        if pending is not None:
            return bytes(pending)
        data = self._stored(digest)
        if sha1(data).digest() != digest:
            ref = blobref.from_digest(digest)
            raise RequestError(
                errnums.EIO, f"{self.path}: blob {ref} is damaged: its {len(data)} bytes have another hash"
            )
        return data

    def _stored(self, digest: bytes) -> bytes:
        """A blob that was written, put together from the one kept whole and the differences behind it."""
        patches: list[blobref.Patch] = []
        base = digest
        while (whole := self._whole(base)) is None:
            patch = self._patch(base)
            if patch is None and not patches:
                raise RequestError(errnums.ENOENT)
            if patch is None or len(patches) > CHAIN_MAX:
                return b""  # what it differs from is gone: damaged, as its hash will tell
            patches.append(patch)
            base = patch.base
        try:
            return patched(whole, patches[::-1]) if patches else whole
        except ValueError:
            return b""

    def flush(self) -> None:
        """Write what is pending in one go; after it, killing the process loses none of it."""
        if not self._pending:
            return
        try:
            self._put(self._pending)
        except RequestError as error:
            self.failure = error
            raise
        self.writes += 1
        self.failure = None
        self._pending.clear()
        self._pending_bytes = 0
        self.is_batch_full = False

    # -- checkpoints

    def checkpoint_put(self, value: Any) -> None:
        """Keep a JSON value, durably, and all blobs stored before it."""
        text = msgspec.json.encode(value).decode()
        self.flush()
        self._put_checkpoint(text, self.checkpoints_max)
        self.epoch = next((number for number, _ in self._checkpoints()), self.epoch)
        self.writes += 1

    def checkpoints(self) -> list[dict[str, Any]]:
        """All that are kept, ``id`` and ``value``, the newest first. Raises RequestError(EIO): one is damaged."""
        return [
            {"id": number, "value": _decoded(text, self.path, number)} for number, text in self._checkpoints()
        ]

    # -- collecting garbage: who does it marks what can be reached, then sweeps what is older than a checkpoint

    def high_water(self) -> int:
        """The highest number of a blob now: a sweep up to there ends, whatever is stored meanwhile."""
        self.flush()
        return self._last_row()

    def older(self, epoch: int) -> int:
        """How many blobs a sweep below an epoch would drop."""
        self.flush()
        return self._older(epoch)

    def mark(self, epoch: int, digests: list[bytes]) -> int:
        """Keep blobs from any sweep up to an epoch; how many of them are here. None ever gets older by it."""
        self.flush()
        return self._mark(epoch, digests)

    def sweep(self, epoch: int, first: int, last: int, count: int) -> tuple[int, int]:
        """Drop at most ``count`` blobs older than an epoch with numbers in first < number <= last.

        How many went, and the number from which to go on.
        """
        self.flush()
        gone, reached = self._sweep(epoch, first, last, count)
        for digest in gone:
            self._chains.forget(digest)
        return len(gone), reached

    # -- the whole

    def close(self) -> None:
        """Write what is pending."""
        self.flush()

    def statistics(self) -> dict[str, Any]:
        """Blobs and bytes that were written, the epoch, blobs waiting, how often was written, and the checkpoints.

        ``dbfile_size`` is the file's; where there is none, what one would hold of blobs and differences.
        """
        return {
            "object_count": self._count(),
            "current_epoch": self.epoch,
            "dbfile_size": self._size(),
            "pending": self.pending,
            "writes": self.writes,
            "checkpoints": self.checkpoints(),
        }


def _decoded(text: Any, path: str, number: int) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError):
        raise RequestError(errnums.EIO, f"{path}: checkpoint {number} is damaged: not JSON") from None
