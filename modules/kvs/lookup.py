"""Knows how a key is looked up in the tree of stored objects; not how those are loaded, nor who asks.

Source: flux-core's kvs, RFC 11 for the objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import RequestError, errnums, treeobj

from . import keys
from .directory import Directory
from .objects import Entries, StoredObject
from .steps import OBJECTS, ROOTS, Steps, View

READDIR: Final = 1
READLINK: Final = 2
TREEOBJ: Final = 16
#: WATCH, WAITCREATE, WATCH_FULL, WATCH_UNIQ, WATCH_APPEND, STREAM: flags of a watch, not of a lookup.
WATCH_FLAGS: Final = 4 | 8 | 64 | 128 | 256 | 512
#: Bytes of a value in an answer: in base64 they are a third more, and a frame has 64 MiB.
VALUE_MAX: Final = 47 << 20
#: Deepest nesting of symlinks, as in Flux.
MAX_LINKS: Final = 10
#: Links one lookup may follow in all: ten levels of paths full of links would otherwise multiply.
MAX_LINKS_IN_ALL: Final = 1000

Answer = Callable[["Walk", treeobj.TreeObj], Steps[treeobj.TreeObj]]


def look_up(
    view: View, namespace: str, rootref: str, key: str, flags: int, value_max: int = VALUE_MAX
) -> Steps[treeobj.TreeObj]:
    """The tree object a lookup answers with; of a value in several objects at most ``value_max`` bytes.

    Raises RequestError: ENOENT no such key, or a value in the middle of the path; EISDIR a directory without
    READDIR or TREEOBJ; ENOTDIR READDIR on anything else; EINVAL READLINK on anything but a symlink, flags that
    exclude each other, an empty key; ELOOP symlinks nested deeper than MAX_LINKS; ENOTSUP a link into a
    namespace that does not exist, or flags of a watch; EFBIG a longer value.
    """
    answer = answer_for(flags)
    names = keys.split(key)
    walk = Walk(view, value_max)
    follow_last = not flags & (READLINK | TREEOBJ)
    _namespace, _rootref, entry = yield from walk.find(namespace, rootref, names, follow_last)
    return (yield from answer(walk, entry))


def at_hand(
    get: Callable[[str], StoredObject | None], rootref: str, key: str, flags: int, value_max: int = VALUE_MAX
) -> treeobj.TreeObj | None:
    """The answer of a look-up that needs nothing: no link on its way, all objects here, as most have. None: see there.

    What is found is what `look_up` finds; that it is not found tells nothing.
    """
    if flags and flags != TREEOBJ:
        return None
    entry: treeobj.TreeObj | None = {"type": "dirref", "data": [rootref]}
    for name in key.split("."):
        if entry is None or entry["type"] != "dirref":
            return None
        found = get(entry["data"][0])
        if found is None or found.known_entries is None:
            return None
        entry = found.known_entries.get(name)
    if entry is None or flags or entry["type"] == "val":
        return entry
    return _joined(get, entry["data"], value_max) if entry["type"] == "valref" else None


def _joined(
    get: Callable[[str], StoredObject | None], refs: list[str], value_max: int
) -> treeobj.TreeObj | None:
    blobs = [blob for ref in refs if (blob := get(ref)) is not None]
    if len(blobs) < len(refs) or _is_longer(blobs, value_max):
        return None
    return treeobj.val(b"".join([blob.raw for blob in blobs]))


def _is_longer(blobs: list[StoredObject], value_max: int) -> bool:
    """One object alone never is: a commit brought it, in a message."""
    return len(blobs) > 1 and sum(len(blob.blob) for blob in blobs) > value_max


def answer_for(flags: int) -> Answer:
    """What turns the entry found into the answer. Raises RequestError(ENOTSUP, EINVAL) for wrong flags."""
    answer = _ANSWERS.get(flags)
    if answer is None:
        if flags & WATCH_FLAGS:
            raise RequestError(
                errnums.ENOTSUP, f"lookup flags {flags:#x} ask for a watch, which kvs does not serve"
            )
        raise RequestError(
            errnums.EINVAL, f"lookup flags {flags:#x}; use one of 0, 1 (dir), 2 (link), 16 (treeobj)"
        )
    return answer


class Walk:
    """One walk from a root to an entry; counts the links it follows."""

    __slots__ = ("_links", "value_max", "view")

    def __init__(self, view: View, value_max: int) -> None:
        self.view = view
        self.value_max = value_max
        self._links = 0

    def find(
        self, namespace: str, rootref: str, names: list[str], follow_last: bool, depth: int = 0
    ) -> Steps[tuple[str, str, treeobj.TreeObj]]:
        """The entry at the end of the names, with the namespace and root it was found in."""
        entry: treeobj.TreeObj = treeobj.known_dirref(rootref)
        last = len(names) - 1
        for at, name in enumerate(names):
            kind = entry["type"]
            if kind == "dirref":
                ref = entry["data"][0]
                # What is at hand is taken without a generator of its own: most often that is the whole path.
                found = self.view.get(ref) or (yield from self.load(ref))
                entries = found.known_entries
                if entries is None:
                    entries = found.entries
            elif kind == "dir":
                entries = entry["data"]
            else:
                raise RequestError(errnums.ENOENT)
            entry = _member(entries, name)
            if entry["type"] == "symlink" and (at < last or follow_last):
                # A link without a namespace means the one it stands in, so that may change along the way.
                namespace, rootref, entry = yield from self._follow(namespace, rootref, entry["data"], depth)
        return namespace, rootref, entry

    def _follow(
        self, namespace: str, rootref: str, link: dict[str, str], depth: int
    ) -> Steps[tuple[str, str, treeobj.TreeObj]]:
        self._links += 1
        if depth >= MAX_LINKS or self._links > MAX_LINKS_IN_ALL:
            raise RequestError(errnums.ELOOP)
        elsewhere = link.get("namespace", namespace)
        if elsewhere != namespace:
            namespace = elsewhere
            rootref = self.view.root(namespace) or (yield ROOTS, (namespace,))[namespace]
        return (yield from self.find(namespace, rootref, keys.split(link["target"]), True, depth + 1))

    def load(self, ref: str) -> Steps[StoredObject]:
        """One stored object."""
        found = self.view.get(ref)
        if found is None:
            found = (yield OBJECTS, (ref,))[ref]
        return found

    def load_all(self, refs: list[str]) -> Steps[list[StoredObject]]:
        """Several stored objects in order; those that are missing are asked for at once."""
        found: dict[str, Any] = {ref: self.view.get(ref) for ref in refs}
        missing = tuple(ref for ref, held in found.items() if held is None)
        if missing:
            found.update((yield OBJECTS, missing))
        return [found[ref] for ref in refs]


def _member(entries: Entries, name: str) -> treeobj.TreeObj:
    entry = entries.get(name)
    if entry is None:
        raise RequestError(errnums.ENOENT)
    return entry


def _raw(_walk: Walk, entry: treeobj.TreeObj) -> Steps[treeobj.TreeObj]:
    return entry
    yield  # a generator like the others, though it needs nothing


def _link(_walk: Walk, entry: treeobj.TreeObj) -> Steps[treeobj.TreeObj]:
    if entry["type"] != "symlink":
        raise RequestError(errnums.EINVAL)
    return entry
    yield


def _directory(walk: Walk, entry: treeobj.TreeObj) -> Steps[treeobj.TreeObj]:
    if entry["type"] == "dir":
        return entry
    if entry["type"] != "dirref":
        raise RequestError(errnums.ENOTDIR)
    found = yield from walk.load(entry["data"][0])
    entries = found.entries
    # The entries go out by reference: copying a big directory would cost more than looking it up.
    data = entries.to_dict() if isinstance(entries, Directory) else entries
    return {"ver": treeobj.VERSION, "type": "dir", "data": data}


def _raw_directory(_walk: Walk, entry: treeobj.TreeObj) -> Steps[treeobj.TreeObj]:
    if entry["type"] not in ("dir", "dirref"):
        raise RequestError(errnums.ENOTDIR)
    return entry
    yield


def _value(walk: Walk, entry: treeobj.TreeObj) -> Steps[treeobj.TreeObj]:
    kind = entry["type"]
    if kind == "val":
        return entry
    if kind != "valref":
        raise RequestError(errnums.EISDIR)
    blobs = yield from walk.load_all(entry["data"])
    if _is_longer(blobs, walk.value_max):
        # Said before it is made: five copies of it would be, and nobody could be sent one.
        size = sum(len(blob.blob) for blob in blobs)
        raise RequestError(
            errnums.EFBIG,
            f"a value of {size:,} bytes in {len(blobs):,} objects: an answer holds {walk.value_max:,}; "
            "ask for what it is made of (treeobj), or watch it with the flag for streams",
        )
    return treeobj.val(b"".join(blob.raw for blob in blobs))


_ANSWERS: Final[dict[int, Answer]] = {
    0: _value,
    READDIR: _directory,
    READLINK: _link,
    TREEOBJ: _raw,
    READDIR | TREEOBJ: _raw_directory,
}
