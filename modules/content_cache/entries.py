"""Knows the blobs a cache holds: which are valid, dirty or in use, how big they are, which go first. No messages."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Final

import msgspec

from brokersim.brokermod import blobref

#: flux-core's defaults: bytes above which old entries are purged, and how old they must be, in heartbeats.
PURGE_TARGET_SIZE: Final = 16 * 1024 * 1024
PURGE_OLD_ENTRY: Final = 10
#: Bytes above which clean entries go however young they are. Ours: 100,000 jobs submitted at once are over before any
#: entry is old, and would be kept whole, 2.5 GB. Sixteen times the size that is aimed at, so that few notice.
SIZE_MAX: Final = 16 * PURGE_TARGET_SIZE
_NO_BLOB: Final = blobref.as_blob(b"")


class Entry(msgspec.Struct, eq=False):
    """One blob by its SHA-1 digest.

    Valid: its ``blob`` is here. Dirty: valid, and not known to be stored further down. ``load_started`` and
    ``store_started`` are the times its own load and store began, so no other operation can disturb them.
    """

    digest: bytes
    blob: blobref.Blob = _NO_BLOB
    is_valid: bool = False
    is_dirty: bool = False
    lastused: int = 0
    #: Place in the order in which entries became dirty.
    seq: int = 0
    #: It went further down as a blob that nobody may let go; and what is on its way there went as part of a tree.
    is_pinned: bool = False
    went_rooted: bool = False
    load_started: float = 0.0
    store_started: float = 0.0
    #: When it went further down last, as far as this cache knows (s).
    stored_at: float = -math.inf
    #: Requests that wait for its data, and for its being stored.
    loads: list[Any] | None = None
    stores: list[Any] | None = None


class BlobCache:
    """Entries by digest. Only valid and clean ones may be dropped, least recently used first."""

    __slots__ = (
        "_clean",
        "_dirty",
        "_entries",
        "_seq",
        "epoch",
        "purge_old_entry",
        "purge_target_size",
        "size",
        "size_max",
    )

    def __init__(
        self, *, purge_target_size: int = PURGE_TARGET_SIZE, purge_old_entry: int = PURGE_OLD_ENTRY
    ) -> None:
        self._entries: dict[bytes, Entry] = {}
        #: Valid and clean entries, least recently used first.
        self._clean: OrderedDict[bytes, Entry] = OrderedDict()
        #: Dirty entries, oldest first. An OrderedDict, since a dict emptied from its front is slow to look at.
        self._dirty: OrderedDict[bytes, Entry] = OrderedDict()
        self._seq = 0
        self.purge_target_size = purge_target_size
        self.purge_old_entry = purge_old_entry
        self.size_max = max(SIZE_MAX, purge_target_size)
        #: Heartbeats so far.
        self.epoch = 0
        #: Bytes of the valid entries.
        self.size = 0

    def find(self, digest: bytes) -> Entry | None:
        """The entry, used just now, or None."""
        entry = self._entries.get(digest)
        if entry is not None:
            entry.lastused = self.epoch
            if digest in self._clean:
                self._clean.move_to_end(digest)
        return entry

    def create_dirty(self, blob: blobref.Blob) -> Entry:
        """A new entry with its data from above: valid and dirty."""
        digest = blob.digest
        self._seq = seq = self._seq + 1
        entry = Entry(digest, blob, True, True, self.epoch, seq, not blob.is_rooted)
        self._entries[digest] = self._dirty[digest] = entry
        self.size += blob.size
        return entry

    def create(self, digest: bytes) -> Entry:
        """A new entry without data."""
        entry = self._entries[digest] = Entry(digest, lastused=self.epoch)
        return entry

    def fill(self, entry: Entry, blob: blobref.Blob) -> None:
        """An entry without data gets it: valid and clean."""
        entry.blob = blob
        entry.is_valid = True
        self._clean[entry.digest] = entry
        self.size += blob.size
        if self.size > self.size_max:
            self._shrink()

    def fill_dirty(self, entry: Entry, blob: blobref.Blob) -> None:
        """An entry without data gets it from above: valid and dirty."""
        self._seq += 1
        entry.seq = self._seq
        entry.blob = blob
        entry.is_valid = entry.is_dirty = True
        self._dirty[entry.digest] = entry
        self.size += blob.size

    def soil(self, entry: Entry) -> None:
        """A clean entry has to be stored again."""
        self._seq += 1
        entry.seq = self._seq
        entry.is_dirty = True
        del self._clean[entry.digest]
        self._dirty[entry.digest] = entry

    def clean(self, entry: Entry) -> None:
        """A dirty entry is stored: clean again."""
        entry.is_dirty = False
        del self._dirty[entry.digest]
        self._clean[entry.digest] = entry
        if self.size > self.size_max:
            self._shrink()

    def _shrink(self) -> None:
        while self.size > self.size_max and self._clean:
            self.drop(next(iter(self._clean.values())))

    def drop(self, entry: Entry) -> None:
        """Forget an entry, whatever its state."""
        del self._entries[entry.digest]
        if entry.is_valid:
            del (self._dirty if entry.is_dirty else self._clean)[entry.digest]
            self.size -= entry.blob.size

    def purge(self) -> int:
        """A heartbeat has passed: drop old clean entries while above the target size; how many went."""
        self.epoch += 1
        oldest_kept = self.epoch - self.purge_old_entry
        excess = self.size - self.purge_target_size
        dropped = []
        for entry in self._clean.values():
            if excess <= 0 or entry.lastused > oldest_kept:
                break
            excess -= entry.blob.size
            dropped.append(entry)
        for entry in dropped:
            self.drop(entry)
        return len(dropped)

    def drop_clean(self) -> int:
        """Drop every valid, clean entry; how many went."""
        dropped = list(self._clean.values())
        for entry in dropped:
            self.drop(entry)
        return len(dropped)

    def dirty_entries(self) -> list[Entry]:
        """The dirty entries, oldest first."""
        return list(self._dirty.values())

    def is_stored_up_to(self, seq: int) -> bool:
        """Everything that became dirty up to then is clean."""
        return not self._dirty or next(iter(self._dirty.values())).seq > seq

    @property
    def last_seq(self) -> int:
        """Place of the entry that became dirty last."""
        return self._seq

    @property
    def count(self) -> int:
        return len(self._entries)

    @property
    def valid(self) -> int:
        return len(self._dirty) + len(self._clean)

    @property
    def dirty(self) -> int:
        return len(self._dirty)
