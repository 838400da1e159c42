"""Knows how many differences lie between a blob and the next that is kept whole; not how either is kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from brokersim.brokermod import blobref

#: Bytes a blob may need beyond its own, generously.
ROW_OVERHEAD: Final = 1024
#: Differences on one another, at most: reading the last of them takes as many look-ups, of 5 µs each. Of a large blob
#: one more for each so many bytes: else a folder of a million keys would be kept whole, 50 MB, at every 500th change.
STEPS_MAX: Final = 500
STEP_BYTES: Final = 16 * 1024
#: The longest row that any blob may have: SQLite takes no more than 1 GB.
CHAIN_MAX: Final = STEPS_MAX + 1_000_000_000 // STEP_BYTES
#: Blobs whose place in such a row is remembered: the versions of all directories that are being written.
CHAINS_MAX: Final = 4096


class Chains:
    """The blobs stored last; the least recently stored are forgotten first."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: OrderedDict[bytes, int] = OrderedDict()

    def add(self, blob: blobref.Blob) -> bool:
        """A blob is stored: is it to be kept as a difference? If that is shorter and its base is known to be here."""
        patch = blob.patch
        before = self._steps.get(patch.base) if patch is not None else None
        is_patched = (
            patch is not None
            and before is not None
            and before < STEPS_MAX + len(blob) // STEP_BYTES
            and len(patch.inserted) + ROW_OVERHEAD < len(blob)
        )
        if blob.digest not in self._steps:
            self._steps[blob.digest] = before + 1 if before is not None and is_patched else 0
            if len(self._steps) > CHAINS_MAX:
                self._steps.popitem(last=False)
        return is_patched

    def made_whole(self, digest: bytes) -> None:
        """A blob is kept whole from now on."""
        if digest in self._steps:
            self._steps[digest] = 0

    def forget(self, digest: bytes) -> None:
        """A blob is not here any more."""
        self._steps.pop(digest, None)
