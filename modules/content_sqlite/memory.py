"""Knows how the blobs and checkpoints of an instance without a state directory are kept: in memory, gone with that.

The same as a file for whoever asks. No SQLite, since nobody else could open it: one in memory took 11 % of the CPU time
of a serial job, and 18 % after 6,000 jobs, because the end of a transaction gets slower with the number of its pages.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from typing import Final

from brokersim.brokermod import RequestError, blobref, errnums

from .batches import Batches, Waiting
from .chains import ROW_OVERHEAD, Chains

#: Bytes above which a whole blob that is a version of something is not written out: its versions share what did not
#: change, so that it costs next to nothing while a copy of its bytes would be all of it.
SHARED_MIN: Final = 256 * 1024
#: What SQLite takes unless it was built otherwise, so that a blob is refused here if it would be refused there.
LONGEST: Final = 1_000_000_000 - ROW_OVERHEAD


class MemoryStore(Batches):
    """Blobs and checkpoints in dicts, as they would be in the tables of a file."""

    def __init__(self) -> None:
        super().__init__(":memory:", LONGEST, as_whole=_as_whole)
        self.truncate()

    def truncate(self) -> None:
        """Keep nothing of what there was."""
        self._pending.clear()
        self._pending_bytes = 0
        self.is_batch_full = False
        self._chains = Chains()
        self._objects: dict[bytes, bytes | blobref.Blob] = {}
        self._patches: dict[bytes, blobref.Patch] = {}
        self._kept: list[tuple[int, str]] = []
        #: Epochs of blobs; those that are not here are of the first, as all are where nobody makes checkpoints.
        self.epoch = 0
        self._epochs: dict[bytes, int] = {}
        #: Numbers of blobs and the reverse, given when somebody collects garbage.
        self._rows: dict[int, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._bytes = 0
        self._is_full = False
        #: Blobs that came as no part of a tree; those no root led to when that was looked at last; new ones since.
        self._pinned: set[bytes] = set()
        self._unreached: set[bytes] = set()
        self.new = 0

    def store(self, data: bytes | blobref.Blob) -> bytes:
        digest = super().store(data)
        if type(data) is not blobref.Blob or not data.is_rooted:
            self._pinned.add(digest)
        return digest

    def stop_growing(self) -> Callable[[], None]:
        """Be full from now on, for tests of what comes of it (fault ``fill-disk`` of the kit); what ends that."""
        self._is_full = True
        return partial(setattr, self, "_is_full", False)

    def _put(self, blobs: dict[bytes, Waiting]) -> None:
        if self._is_full and not blobs.keys() <= self._objects.keys() | self._patches.keys():
            raise RequestError(errnums.ENOSPC, f"{self.path}: database or disk is full")
        self._unreached.difference_update(blobs)
        if self.epoch or self._epochs:
            self._epochs.update(dict.fromkeys(blobs, self.epoch))
        for digest, data in blobs.items():
            if isinstance(data, bytes) or data.patch is None:
                if digest not in self._objects:
                    self._objects[digest] = data
                    self._bytes += len(data)
                    self.new += 1
            elif digest not in self._patches:
                self._patches[digest] = data.patch
                self._bytes += len(data.patch.inserted)
                self.new += 1

    def _whole(self, digest: bytes) -> bytes | None:
        kept = self._objects.get(digest)
        return None if kept is None else bytes(kept)

    def _patch(self, digest: bytes) -> blobref.Patch | None:
        return self._patches.get(digest)

    def _put_checkpoint(self, text: str, keep: int) -> None:
        number = self._kept[0][0] + 1 if self._kept else 1
        self._kept = [(number, text), *self._kept[: keep - 1]]

    def _checkpoints(self) -> list[tuple[int, str]]:
        return self._kept

    def _size(self) -> int:
        """Bytes that a file would hold of them, its pages aside: there is none, and Flux has one always."""
        return self._bytes

    # -- letting go

    def __len__(self) -> int:
        """Blobs that are kept."""
        return len(self._objects.keys() | self._patches.keys())

    def holders(self) -> list[bytes]:
        """Digests that are held by no root of a kvs: of blobs that came alone, and in checkpoints."""
        in_checkpoints = [ref for _, text in self._kept for ref in refs_in(text.encode())]
        return [*self._pinned, *in_checkpoints]

    def made_whole(self, digest: bytes) -> bytes:
        """A blob, from now on kept whole if it was not, so that what it differs from may go; empty if there is none."""
        if digest in self._patches:
            if digest not in self._objects:
                data = self._objects[digest] = self._stored(digest)
                self._bytes += len(data)
            self._bytes -= len(self._patches.pop(digest).inserted)
            self._chains.made_whole(digest)
        return bytes(self._objects.get(digest, b""))

    def let_go(self, reached: set[bytes]) -> int:
        """Drop what was not reached now, nor the last time, nor stored since; how many went. Nothing may be pending.

        Twice, so that whoever still reads below a root that has moved has as long as lies between two looks.
        """
        goes = self._unreached - reached - self._pinned
        for digest, patch in self._patches.items():
            if digest not in goes:
                base: bytes | None = patch.base
                while base is not None and base in goes:
                    goes.discard(base)
                    base = self._patches[base].base if base in self._patches else None
        for digest in goes:
            self._drop(digest)
            self._chains.forget(digest)
        self._unreached = (self._objects.keys() | self._patches.keys()) - reached - self._pinned
        self.new = 0
        return len(goes)

    def _drop(self, digest: bytes) -> None:
        self._bytes -= len(self._objects.pop(digest, b""))
        gone = self._patches.pop(digest, None)
        self._bytes -= len(gone.inserted) if gone is not None else 0
        self._epochs.pop(digest, None)
        number = self._numbers.pop(digest, None)
        if number is not None:
            del self._rows[number]

    # -- collecting garbage by order of somebody who marks

    def _count(self) -> int:
        return len(self)

    def _last_row(self) -> int:
        numbers = self._numbers
        last = next(reversed(self._rows), 0)  # SQLite uses the highest again that are free
        for digest in chain(self._objects, self._patches):
            if digest not in numbers:
                last += 1
                numbers[digest] = last
                self._rows[last] = digest
        return last

    def _older(self, epoch: int) -> int:
        ages = self._epochs
        return sum(ages.get(digest, 0) < epoch for digest in self._objects.keys() | self._patches.keys())

    def _mark(self, epoch: int, digests: list[bytes]) -> int:
        ages, here = self._epochs, [one for one in digests if one in self._objects or one in self._patches]
        for digest in here:
            ages[digest] = max(ages.get(digest, 0), epoch)
        return len(here)

    def _sweep(self, epoch: int, first: int, last: int, count: int) -> tuple[list[bytes], int]:
        rows, ages = self._rows, self._epochs
        found = (number for number in range(first + 1, last + 1) if number in rows)
        numbers = list(islice((one for one in found if ages.get(rows[one], 0) < epoch), count))
        doomed = [rows[number] for number in numbers]
        gone = set(doomed)
        for digest in [one for one, patch in self._patches.items() if patch.base in gone and one not in gone]:
            self.made_whole(digest)
        for digest in doomed:
            self._drop(digest)
        self._pinned -= gone
        self._unreached -= gone
        return doomed, numbers[-1] if len(numbers) == count else last


def _as_whole(blob: blobref.Blob) -> Waiting:
    if isinstance(blob.source, bytes) or blob.size < SHARED_MIN:
        return bytes(blob)
    return blobref.Blob(blob.digest, blob.size, blob.source)


_find_refs = re.compile(rb"sha1-([0-9a-f]{40})").findall


def refs_in(data: bytes) -> list[bytes]:
    """The digests that bytes name, as a directory names what is in it. Text that only looks like one is harmless."""
    return [binascii.unhexlify(ref) for ref in _find_refs(data)]
