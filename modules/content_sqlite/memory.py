"""Knows how the blobs and checkpoints of an instance without a state directory are kept: in memory, gone with that.

The same as a file for whoever asks. No SQLite, since nobody else could open it: one in memory took 11 % of the CPU time
of a serial job, and 18 % after 6,000 jobs, because the end of a transaction gets slower with the number of its pages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from brokersim.brokermod import RequestError, blobref, errnums

from .batches import ROW_OVERHEAD, Batches, Waiting

#: What SQLite takes unless it was built otherwise, so that a blob is refused here if it would be refused there.
LONGEST: Final = 1_000_000_000 - ROW_OVERHEAD


class MemoryStore(Batches):
    """Blobs and checkpoints in dicts, as they would be in the tables of a file."""

    def __init__(self) -> None:
        super().__init__(":memory:", LONGEST)
        self.truncate()

    def truncate(self) -> None:
        """Keep nothing of what there was."""
        self._pending.clear()
        self._pending_bytes = 0
        self._steps.clear()
        self._objects: dict[bytes, bytes] = {}
        self._patches: dict[bytes, blobref.Patch] = {}
        self._kept: list[tuple[int, str]] = []
        self._bytes = 0
        self._is_full = False

    def stop_growing(self) -> Callable[[], None]:
        """Be full from now on, for tests of what comes of it (fault ``fill-disk`` of the kit); what ends that."""
        self._is_full = True
        return partial(setattr, self, "_is_full", False)

    def _put(self, blobs: dict[bytes, Waiting]) -> None:
        if self._is_full and not blobs.keys() <= self._objects.keys() | self._patches.keys():
            raise RequestError(errnums.ENOSPC, f"{self.path}: database or disk is full")
        for digest, data in blobs.items():
            if isinstance(data, bytes):
                if digest not in self._objects:
                    self._objects[digest] = data
                    self._bytes += len(data)
            elif data.patch is not None and digest not in self._patches:
                self._patches[digest] = data.patch
                self._bytes += len(data.patch.inserted)

    def _whole(self, digest: bytes) -> bytes | None:
        return self._objects.get(digest)

    def _patch(self, digest: bytes) -> blobref.Patch | None:
        return self._patches.get(digest)

    def _put_checkpoint(self, text: str, keep: int) -> None:
        number = self._kept[0][0] + 1 if self._kept else 1
        self._kept = [(number, text), *self._kept[: keep - 1]]

    def _checkpoints(self) -> list[tuple[int, str]]:
        return self._kept

    def _size(self) -> int:
        return self._bytes
