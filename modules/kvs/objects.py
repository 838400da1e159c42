"""Knows the objects a kvs keeps decoded by blobref, and which to let go; not where they come from."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, TypeAlias

from brokersim.brokermod import RequestError, blobref, errnums, treeobj

from .directory import Directory

#: Bytes of stored form kept per rank; decoded, a directory takes about five times as much.
SIZE_LIMIT: Final = 8 * 1024 * 1024
#: Heartbeats an object may go unused before it is dropped: flux-core's number.
AGE_LIMIT: Final = 5

#: A directory's entries by name; a plain dict unless there are many.
Entries: TypeAlias = dict[str, treeobj.TreeObj] | Directory


class StoredObject:
    """A blob of the content store: a value's bytes, or a directory's entries, or both. Its content never changes."""

    __slots__ = ("_blob", "_entries", "epoch", "size", "stored")

    def __init__(self, blob: blobref.Blob | None = None, entries: Entries | None = None) -> None:
        self._blob = blob
        self._entries = entries
        self.size = 0 if blob is None else blob.size
        #: Heartbeats at its last use, and at its last store from here.
        self.epoch = 0
        self.stored = -AGE_LIMIT

    @property
    def entries(self) -> Entries:
        """The entries of a directory. Raises RequestError(EIO) if the blob is anything else."""
        entries = self._entries
        if entries is None:
            entries = self._entries = _decode_directory(self.raw)
        return entries

    @property
    def blob(self) -> blobref.Blob:
        """What content.store is given."""
        blob = self._blob
        if blob is None:
            entries = self._entries
            if isinstance(entries, Directory):
                blob = entries.blob
            else:
                blob = blobref.as_blob(treeobj.encode(treeobj.directory(entries or {})))
            self._blob = blob
        return blob

    @property
    def raw(self) -> bytes:
        """The blob's bytes, as content.store got them."""
        blob = self._blob
        return bytes(self.blob if blob is None else blob)

    def keep_one_form(self) -> StoredObject:
        """Itself, with a directory's bytes let go: its entries can give them again."""
        if self._entries is not None:
            self._blob = None
        return self


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
    """Objects by blobref, least recently used first; bounded by bytes and by heartbeats unused."""

    __slots__ = ("_epoch", "_objects", "_size", "_size_limit")

    def __init__(self, size_limit: int = SIZE_LIMIT) -> None:
        self._objects: OrderedDict[str, StoredObject] = OrderedDict()
        self._size_limit = size_limit
        self._size = 0
        self._epoch = 0

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
            return ref == treeobj.EMPTY_DIR_REF
        return self._epoch - found.stored < AGE_LIMIT

    def put(self, ref: str, found: StoredObject, *, is_stored: bool = False) -> None:
        """Keep an object, dropping the least recently used ones over the size limit."""
        if is_stored:
            found.stored = self._epoch
        before = self._objects.pop(ref, None)
        if before is not None:
            self._size -= before.size
        found.epoch = self._epoch
        self._objects[ref] = found
        self._size += found.size
        while self._size > self._size_limit:
            self._drop_oldest()

    def expire(self) -> None:
        """A heartbeat has passed: drop what was unused for AGE_LIMIT of them."""
        self._epoch += 1
        oldest_kept = self._epoch - AGE_LIMIT
        while self._objects and next(iter(self._objects.values())).epoch < oldest_kept:
            self._drop_oldest()

    def clear(self) -> None:
        """Drop everything; what is used again is loaded again."""
        self._objects.clear()
        self._size = 0

    def _drop_oldest(self) -> None:
        _ref, dropped = self._objects.popitem(last=False)
        self._size -= dropped.size

    def statistics(self) -> dict[str, Any]:
        """Count of the objects and the sum of their stored bytes."""
        return {"#obj": len(self._objects), "obj size total": self._size}
