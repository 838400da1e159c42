"""Knows the objects a kvs keeps decoded by blobref, and which to let go; not where they come from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from brokersim.brokermod import RequestError, blobref, errnums, treeobj

from .directory import LARGE, Directory

#: Bytes of stored form kept per rank; decoded, a directory takes about five times as much.
SIZE_LIMIT: Final = 8 * 1024 * 1024
#: Bytes that one object counts for at most. A folder of a million keys would push out all others and be pushed out by
#: the next, to be loaded whole for each commit to it: so a few such are kept, whatever their size.
COUNTED_MAX: Final = SIZE_LIMIT // 8
#: Bytes that a version of a large directory counts for beside what is only in it, once another came of it.
VERSION_SIZE: Final = 2048
#: Heartbeats an object may go unused before it is dropped: flux-core's number.
AGE_LIMIT: Final = 5

#: A directory's entries by name; a plain dict unless there are many.
Entries: TypeAlias = dict[str, treeobj.TreeObj] | Directory


class StoredObject(msgspec.Struct, eq=False):
    """A blob of the content store: a value's bytes, or a directory's entries, or both. Its content never changes."""

    stored_form: blobref.Blob | None = None
    #: A directory's, once they are known: look here first, it is three times cheaper.
    known_entries: Entries | None = None
    #: Bytes it counts for in a cache.
    size: int = 0
    #: Heartbeats at its last use, and at its last store from here.
    epoch: int = 0
    stored: int = -AGE_LIMIT

    @property
    def entries(self) -> Entries:
        """The entries of a directory. Raises RequestError(EIO) if the blob is anything else."""
        entries = self.known_entries
        if entries is None:
            entries = self.known_entries = _decode_directory(self.raw)
        return entries

    def prepared(self) -> Entries:
        """The entries as they are changed: if there are many, a plain dict is made a directory that shares, once."""
        entries = self.entries
        if type(entries) is dict and len(entries) > LARGE:
            made = Directory.of(entries)
            if made.blob.digest == self.blob.digest:  # else somebody stored it who writes JSON otherwise
                self.known_entries = entries = made
        return entries

    @property
    def before(self) -> blobref.Patch | None:
        """How it differs from the version it came of, if it is one of a large directory."""
        entries = self.known_entries
        return entries.blob.patch if type(entries) is Directory else None

    @property
    def blob(self) -> blobref.Blob:
        """What content.store is given."""
        blob = self.stored_form
        if blob is None:
            entries = self.known_entries
            if isinstance(entries, Directory):
                blob = entries.blob
            else:
                _, blob = blobref.named(treeobj.encode(treeobj.directory(entries or {})))
            self.stored_form = blob
        return blob

    @property
    def raw(self) -> bytes:
        """The blob's bytes, as content.store got them."""
        blob = self.stored_form
        return bytes(self.blob if blob is None else blob)


def _decode_directory(raw: bytes) -> Entries:
    try:
        found = treeobj.decode(raw)
    except RequestError as error:
        raise RequestError(errnums.EIO, f"stored directory is damaged: {error}") from None
    if found["type"] != "dir":
        raise RequestError(errnums.EIO, f"stored object is a {found['type']} where a directory is due")
    entries: Entries = found["data"]
    return entries


# Every namespace starts from it, so it is never missing, wherever the content store stands.
_EMPTY: Final = StoredObject(blobref.as_blob(treeobj.encode(treeobj.directory())), {})


class ObjectCache:
    """Objects by blobref, least recently used first; bounded by bytes and by heartbeats unused.

    What versions of a large directory share counts once, for the newest.
    """

    __slots__ = ("_epoch", "_objects", "_size", "_size_limit", "_stores_empty")

    def __init__(self, size_limit: int = SIZE_LIMIT) -> None:
        self._objects: OrderedDict[str, StoredObject] = OrderedDict()
        self._size_limit = size_limit
        self._size = 0
        self._epoch = 0
        #: The empty directory, which nobody misses who commits, is stored for who walks the tree in the content store.
        self._stores_empty = False

    def get(self, ref: str) -> StoredObject | None:
        """The object, now the most recently used, or None."""
        found = self._objects.get(ref)
        if found is None:
            return _EMPTY if ref == treeobj.EMPTY_DIR_REF else None
        found.epoch = self._epoch
        self._objects.move_to_end(ref)
        return found

    def was_stored(self, ref: str) -> bool:
        """An object kept here went to the content store within AGE_LIMIT heartbeats, so it need not go again.

        What was loaded, or stored long ago, may have been let go there since: no root led to it for a while.
        """
        found = self._objects.get(ref)
        if found is None:
            return ref == treeobj.EMPTY_DIR_REF and not self._stores_empty
        return self._epoch - found.stored < AGE_LIMIT

    def put(self, ref: str, found: StoredObject) -> None:
        """Keep an object, dropping the least recently used ones over the size limit."""
        before = self._objects.pop(ref, None)
        if before is not None:
            self._size -= before.size
        self._add(ref, found)

    def put_stored(self, objects: Mapping[str, StoredObject]) -> None:
        """Keep what went to the content store from here, in one form: entries can give a directory's bytes again."""
        kept, epoch = self._objects, self._epoch
        for ref, found in objects.items():
            entries = found.known_entries
            if ref in kept:
                self._size -= kept.pop(ref).size
            elif type(entries) is Directory and (patch := found.before) is not None:
                self._share(patch)
            blob = found.stored_form
            size = (found.blob if blob is None else blob).size
            if size > COUNTED_MAX:
                size = COUNTED_MAX
            found.size = size
            found.stored = found.epoch = epoch
            if entries is not None:
                found.stored_form = None
            kept[ref] = found
            self._size += size
        while self._size > self._size_limit:
            self._drop_oldest()

    def _add(self, ref: str, found: StoredObject) -> None:
        found.epoch = self._epoch
        blob = found.stored_form
        size = (found.blob if blob is None else blob).size
        found.size = size = COUNTED_MAX if size > COUNTED_MAX else size
        self._objects[ref] = found
        self._size += size
        while self._size > self._size_limit:
            self._drop_oldest()

    def _share(self, patch: blobref.Patch) -> None:
        """From the next version on, the one before counts only for what is in no other."""
        base = self._objects.get(blobref.from_digest(patch.base))
        if base is not None:
            own = min(base.size, sum([removed for _, removed, _ in patch.hunks]) + VERSION_SIZE)
            self._size -= base.size - own
            base.size = own

    def expire(self) -> None:
        """A heartbeat has passed: drop what was unused for AGE_LIMIT of them."""
        self._epoch += 1
        oldest_kept = self._epoch - AGE_LIMIT
        while self._objects and next(iter(self._objects.values())).epoch < oldest_kept:
            self._drop_oldest()

    def forget_stored(self) -> None:
        """What went to the content store may be let go there now: it goes again, also the empty directory."""
        self._stores_empty = True
        for found in self._objects.values():
            found.stored = self._epoch - AGE_LIMIT

    def clear(self) -> None:
        """Drop everything; what is used again is loaded again."""
        self._objects.clear()
        self._size = 0

    def _drop_oldest(self) -> None:
        _ref, dropped = self._objects.popitem(last=False)
        self._size -= dropped.size

    def statistics(self) -> dict[str, Any]:
        """Count of the objects, and the bytes they count for: those of their stored forms, shared ones once."""
        return {"#obj": len(self._objects), "obj size total": self._size}
