"""Knows what a transaction does to the tree of stored objects; not how those are stored, nor who commits.

Source: flux-core's kvs; the rules reproduce its root hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from brokersim.brokermod import RequestError, blobref, errnums, treeobj

from . import keys
from .directory import LARGE, Changes, Directory
from .lookup import MAX_LINKS
from .objects import Entries, StoredObject
from .steps import OBJECTS, Steps, View

APPEND: Final = 32
#: Flag of a commit: join its appends to one key.
TXN_COMPACT: Final = 2
#: A value whose base64 text is longer goes into a blob of its own: flux-core's number.
LARGE_VALUE: Final = 72


class Op(msgspec.Struct, gc=False):
    """One operation of a transaction as it comes: ``dirent`` null unlinks, flag 32 appends, else it is put."""

    key: str
    flags: int = 0
    dirent: dict[str, Any] | None = None
    #: What a val holds, once it was checked: it had to be decoded for that. Not a peer's to say.
    held: bytes | None = msgspec.field(default=None, name="# held")


class Outcome(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The tree after a commit: its root, and the objects in store order that content does not have yet."""

    rootref: str
    objects: dict[str, StoredObject]


def checked(ops: Sequence[Op]) -> Sequence[Op]:
    """The same operations, if all are well-formed.

    Raises RequestError: EINVAL for the root as a key, for unknown flags and a malformed dirent; EPROTO for
    an append of anything but a val.
    """
    for op in ops:
        keys.leaf_names(op.key)
        if op.flags & ~APPEND:
            raise RequestError(
                errnums.EINVAL, f"key {op.key!r}: operation flags {op.flags:#x}; only 32 is known"
            )
        op.held = None
        if op.dirent is not None:
            try:
                op.held = treeobj.check_held(op.dirent)
            except RequestError as error:
                raise RequestError(errnums.EINVAL, f"key {op.key!r}: {error.text}") from None
        if op.flags and (op.dirent is None or op.dirent["type"] != "val"):
            raise RequestError(errnums.EPROTO, f"key {op.key!r}: only a val can be appended")
    return ops


def compacted(ops: Sequence[Op]) -> Sequence[Op]:
    """Checked operations with the appends to one key joined, up to the next that may get into their way.

    That is any that is no append, and an append whose way leads elsewhere: a value on it becomes a directory.
    """
    result: list[Op] = []
    growing: dict[str, tuple[int, bytearray]] = {}
    for op in ops:
        if not op.flags:
            growing.clear()  # a put may reach the same value by another path, a link
        elif op.key in growing:
            at, data = growing[op.key]
            data += _held_by(op)
            result[at] = Op(op.key, APPEND, treeobj.val(bytes(data)), bytes(data))
            continue
        else:
            way = op.key.rpartition(".")[0]
            if way:  # what lies below it was appended to by the same way, so that has directories only
                growing = {key: kept for key, kept in growing.items() if key.startswith(f"{way}.")}
            growing[op.key] = len(result), bytearray(_held_by(op))
        result.append(op)
    return result


def _held_by(op: Op) -> bytes:
    return treeobj.val_bytes(cast(dict[str, Any], op.dirent)) if op.held is None else op.held


def apply(view: View, namespace: str, rootref: str, ops: Sequence[Op]) -> Steps[Outcome]:
    """The outcome of applying checked operations in order to the tree under a root.

    Raises RequestError: EISDIR append to a directory; ENOTSUP append to a symlink; EINVAL a symlink into
    another namespace, or a path of too many names; ELOOP symlinks in a circle.
    """
    if len(ops) == 1 and (outcome := _of_one(view, rootref, ops[0])) is not None:
        return outcome
    tree = _Tree(view, namespace)
    root = view.get(rootref)
    if root is None:
        tree.loaded.update((yield OBJECTS, (rootref,)))
        tree.root = tree.open(rootref)
    else:
        tree.root = _opened(root, rootref)
    for at, op in enumerate(ops):
        # An operation changes nothing but empty directories on its path before it is sure of all it needs.
        while True:
            try:
                tree.apply(op)
                break
            except _MissingError as error:
                tree.loaded.update((yield OBJECTS, tree.missing(error.ref, ops[at + 1 :])))
    return Outcome(rootref=tree.store(tree.root), objects=tree.objects)


#: From the root down: a directory's blobref (None: it is not there yet), its entries, the name that changes in it.
_Way = list[tuple[str | None, Entries, str]]


def _of_one(view: View, rootref: str, op: Op) -> Outcome | None:
    """The same for a usual commit, in short: one value, put or appended below directories that are at hand.

    None for any other. Of a job's commits twelve in thirteen are such.
    """
    if op.dirent is None:
        return None
    way = _way(view, rootref, keys.leaf_names(op.key))
    if way is None:
        return None
    objects: dict[str, StoredObject] = {}
    holds = view.holds

    def blob_of(val: treeobj.TreeObj, held: bytes | None) -> str:
        ref, blob = blobref.named(treeobj.val_bytes(val) if held is None else held)
        if ref not in objects and not holds(ref):
            objects[ref] = StoredObject(blob)
        return ref

    entry = _leaf(way[-1][1].get(way[-1][2]), op, blob_of)
    if entry is None:
        return None
    for origin, entries, name in reversed(way):
        made: Any
        if type(entries) is dict:
            made = entries.copy()
            made[name] = entry
        else:
            made = cast(Directory, entries).changed({name: entry})
        ref, found = _named(made)
        if ref != origin and not holds(ref):
            objects[ref] = found
        entry = treeobj.known_dirref(ref)
    return Outcome(rootref=ref, objects=objects)


def _way(view: View, rootref: str, names: Sequence[str]) -> _Way | None:
    """The directories that a key leads through; None if something else is in its way, or has to be loaded."""
    way: _Way = []
    ref: str | None = rootref
    last = len(names) - 1
    for at, name in enumerate(names):
        entries: Entries = {}
        if ref is not None:
            found = view.get(ref)
            if found is None:
                return None
            entries = _entries(found)
        way.append((ref, entries, name))
        if at < last:
            entry = entries.get(name)
            if entry is not None and entry["type"] != "dirref":
                return None
            ref = None if entry is None else entry["data"][0]
    return way


def _leaf(
    before: treeobj.TreeObj | None, op: Op, blob_of: Callable[[treeobj.TreeObj, bytes | None], str]
) -> treeobj.TreeObj | None:
    """What stands at the end of the way after an operation; None for what is not usual."""
    added = cast(dict[str, Any], op.dirent)
    if before is not None and op.flags:
        if before["type"] == "val":
            refs = [blob_of(before, None)]
        elif before["type"] == "valref":
            refs = [*before["data"]]
        else:
            return None
        refs.append(blob_of(added, op.held))
    elif added["type"] == "val" and len(added["data"]) > LARGE_VALUE:
        refs = [blob_of(added, op.held)]
    else:
        return None if added["type"] == "dir" else added
    return {"ver": treeobj.VERSION, "type": "valref", "data": refs}


def _named(made: Entries) -> tuple[str, StoredObject]:
    """The blobref and the stored form of a directory's entries."""
    if type(made) is dict and len(made) > LARGE:
        made = Directory.of(made)
    if type(made) is Directory:
        return made.ref, StoredObject(made.blob, made)
    ref, blob = blobref.named(treeobj.encode({"ver": treeobj.VERSION, "type": "dir", "data": made}))
    return ref, StoredObject(blob, made)


class _MissingError(Exception):
    """An object has to be loaded first."""

    def __init__(self, ref: str) -> None:
        super().__init__(ref)
        self.ref = ref


class _Directory(msgspec.Struct, eq=False):
    """A directory being changed: its own copy of the entries, opened subdirectories among them."""

    entries: dict[str, Any] | Changes
    origin: str | None
    #: Names that may hold what is not in its stored form yet; None for all of them.
    touched: dict[str, None] | None

    def put(self, name: str, entry: Any) -> None:
        self.entries[name] = entry
        if self.touched is not None:
            self.touched[name] = None


class _Tree:
    __slots__ = ("_at_its_end", "_get", "_held", "_holds", "_namespace", "_way", "loaded", "objects", "root")

    def __init__(self, view: View, namespace: str) -> None:
        self._get, self._holds = view.get, view.holds
        self._namespace = namespace
        #: Objects loaded for this commit: kept here, since a small cache might drop one while others load.
        self.loaded: dict[str, StoredObject] = {}
        self.objects: dict[str, StoredObject] = {}
        #: What values hold, by the identity of their entries, which the operations keep.
        self._held: dict[int, bytes] = {}
        #: The names that the last key had before its own, and where they led: a job's events come together.
        self._way: Sequence[str] | None = None
        self.root = self._at_its_end = _Directory({}, None, {})

    def apply(self, op: Op) -> None:
        directory, name = self._parent(op.key, create=op.dirent is not None)
        if directory is None:
            return
        if op.held is not None:
            self._held[id(op.dirent)] = op.held
        if op.dirent is None:
            directory.entries.pop(name, None)
        elif op.flags:
            self._append(directory, name, op)
        else:
            directory.put(name, op.dirent)

    def missing(self, first: str, ops: Sequence[Op]) -> tuple[str, ...]:
        """The object missing first, and those the operations will lack, as far as can be seen now."""
        refs = (self._first_missing(keys.leaf_names(op.key)) for op in ops)
        return tuple(dict.fromkeys((first, *(ref for ref in refs if ref))))

    def store(self, directory: _Directory) -> str:
        """Brings a directory into its stored form, subdirectories first; its blobref."""
        entries: Any = directory.entries
        for name in entries if directory.touched is None else directory.touched:
            entry = entries.get(name)
            if type(entry) is _Directory:
                entries[name] = treeobj.known_dirref(self.store(entry))
            elif entry is not None:
                kind = entry["type"]
                if kind == "val":
                    if len(entry["data"]) > LARGE_VALUE:
                        refs = [self.store_blob(self._bytes_of(entry))]
                        entries[name] = {"ver": treeobj.VERSION, "type": "valref", "data": refs}
                elif kind == "dir":
                    inner = _Directory(dict(entry["data"]), None, None)
                    entries[name] = treeobj.known_dirref(self.store(inner))
        ref, found = _named(entries.made() if type(entries) is Changes else entries)
        if ref != directory.origin and not self._holds(ref):
            self.objects[ref] = found
        return ref

    def _bytes_of(self, val: treeobj.TreeObj) -> bytes:
        held = self._held.get(id(val))
        return treeobj.val_bytes(val) if held is None else held

    def store_blob(self, data: bytes) -> str:
        ref, blob = blobref.named(data)
        if ref not in self.objects and not self._holds(ref):
            self.objects[ref] = StoredObject(blob)
        return ref

    def _parent(self, key: str, create: bool) -> tuple[_Directory | None, str]:
        """The directory of a key's last name; None if it is missing and nothing is to be created."""
        names: Sequence[str] = keys.leaf_names(key)
        way = names[:-1]
        if way == self._way:
            return self._at_its_end, names[-1]
        links = 0
        directory, at, last = self.root, 0, len(names) - 1
        while at < last:
            name = names[at]
            entry = directory.entries.get(name)
            at += 1
            if type(entry) is _Directory:
                directory = entry
            elif entry is not None and entry["type"] == "symlink":
                links += 1
                names = keys.bounded([*self._target(entry["data"], links), *names[at:]])
                directory, at, last = self.root, 0, len(names) - 1
            else:
                inner = self._inner(entry, create)
                if inner is None:
                    return None, ""
                directory.entries[name] = inner
                if directory.touched is not None:
                    directory.touched[name] = None
                directory = inner
        # What an operation changes in a directory cannot be on the way to it, but for a link's.
        self._way, self._at_its_end = None if links else way, directory
        return directory, names[-1]

    def _target(self, link: dict[str, str], links: int) -> list[str]:
        if links > MAX_LINKS:
            raise RequestError(errnums.ELOOP)
        if link.get("namespace", self._namespace) != self._namespace:
            raise RequestError(
                errnums.EINVAL, f"symlink into namespace {link['namespace']!r}: not writable from here"
            )
        return keys.split(link["target"])

    def _inner(self, entry: treeobj.TreeObj | None, create: bool) -> _Directory | None:
        """A directory to work in for what stands there; a new one for nothing and for a value, if wanted."""
        if entry is not None:
            kind = entry["type"]
            if kind == "dirref":
                return self.open(entry["data"][0])
            if kind == "dir":
                return _Directory(dict(entry["data"]), None, None)
        return _Directory({}, None, {}) if create else None

    def open(self, ref: str) -> _Directory:
        found = self.loaded.get(ref) or self._get(ref)
        if found is None:
            raise _MissingError(ref)
        return _opened(found, ref)

    def _kept(self, ref: str) -> StoredObject | None:
        return self.loaded.get(ref) or self._get(ref)

    def _first_missing(self, names: Sequence[str]) -> str | None:
        entries: Any = self.root.entries
        for name in names[:-1]:
            entry = entries.get(name)
            if type(entry) is _Directory:
                entries = entry.entries
            elif entry is None or entry["type"] not in ("dir", "dirref"):
                return None
            elif entry["type"] == "dir":
                entries = entry["data"]
            elif (found := self._kept(entry["data"][0])) is None:
                ref: str = entry["data"][0]
                return ref
            else:
                entries = found.entries
        return None

    def _append(self, directory: _Directory, name: str, op: Op) -> None:
        added = cast(dict[str, Any], op.dirent)
        entry: Any = directory.entries.get(name)
        if entry is None:
            directory.put(name, added)
            return
        kind = "dir" if type(entry) is _Directory else entry["type"]
        if kind == "val":
            both = [self.store_blob(self._bytes_of(part)) for part in (entry, added)]
            directory.put(name, {"ver": treeobj.VERSION, "type": "valref", "data": both})
        elif kind == "valref":
            refs = [*entry["data"], self.store_blob(self._bytes_of(added))]
            directory.put(name, {"ver": treeobj.VERSION, "type": "valref", "data": refs})
        elif kind == "symlink":
            raise RequestError(errnums.ENOTSUP, f"key {op.key!r}: cannot append to a symlink")
        else:
            raise RequestError(errnums.EISDIR, f"key {op.key!r}: cannot append to a directory")


def _entries(found: StoredObject) -> Entries:
    """A directory's entries, in the form in which they are changed."""
    entries = found.known_entries
    if type(entries) is not dict or len(entries) > LARGE:
        return found.prepared()
    return entries


def _opened(found: StoredObject, ref: str) -> _Directory:
    entries = _entries(found)
    return _Directory(entries.copy() if type(entries) is dict else Changes(entries), ref, {})  # type: ignore[arg-type]
