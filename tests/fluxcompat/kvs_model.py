"""What the KVS is, written down once more from the protocol's description: trees as dictionaries, hashes by hand.

No code of ours in it, and no code shared with the server. One namespace; links lead nowhere else.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from typing import Any, NamedTuple

ENOENT, ENOTDIR, EISDIR, EINVAL, ELOOP, ENOTSUP = 2, 20, 21, 22, 40, 95
READDIR, READLINK, TREEOBJ = 1, 2, 16
#: BASE64 text up to this long stays in its directory.
INLINE = 72
LINKS_MAX = 10


class Value(NamedTuple):
    """A value: its blobs, and whether it stands in its directory itself."""

    blobs: tuple[bytes, ...]
    is_inline: bool


class Link(NamedTuple):
    target: str


class Failed(Exception):
    def __init__(self, errnum: int) -> None:
        super().__init__(errnum)
        self.errnum = errnum


def names(key: str) -> list[str]:
    return [name for name in key.split(".") if name]


def blobref(data: bytes) -> str:
    return "sha1-" + hashlib.sha1(data).hexdigest()


def entry(kind: str, data: Any) -> dict[str, Any]:
    return {"data": data, "type": kind, "ver": 1}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def stored(node: Any) -> dict[str, Any]:
    """The tree object that stands for a node in its directory."""
    if isinstance(node, dict):
        return entry("dirref", [blobref(object_of(node))])
    if isinstance(node, Link):
        return entry("symlink", {"target": node.target})
    if node.is_inline:
        return entry("val", encoded(node.blobs[0]))
    return entry("valref", [blobref(blob) for blob in node.blobs])


def object_of(directory: dict[str, Any]) -> bytes:
    """The stored form of a directory: compact, keys sorted."""
    whole = entry("dir", {name: stored(node) for name, node in directory.items()})
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


class Tree:
    """One namespace. ``commit`` does all of a transaction or, raising Failed, nothing of it."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self.rootseq = 0

    @property
    def rootref(self) -> str:
        return blobref(object_of(self.root))

    # -- writing: ops are (verb, key, argument)

    def commit(self, ops: list[tuple[str, str, Any]]) -> None:
        root = copy.deepcopy(self.root)
        for verb, key, argument in ops:
            self._apply(root, verb, key, argument)
        self._settle(root)
        self.root = root
        self.rootseq += 1

    def _apply(self, root: dict[str, Any], verb: str, key: str, argument: Any) -> None:
        path = names(key)
        if not path:
            raise Failed(EINVAL)
        place = self._parent(root, path, make=verb != "unlink")
        if place is None:
            return
        directory, name = place
        if verb == "unlink":
            directory.pop(name, None)
        elif verb == "put":
            directory[name] = Value((argument,), True)
        elif verb == "link":
            directory[name] = Link(argument)
        elif verb == "mkdir":
            directory[name] = {}
        else:
            directory[name] = self._appended(directory.get(name), argument)

    @staticmethod
    def _appended(old: Any, data: bytes) -> Value:
        if old is None:
            return Value((data,), True)
        if isinstance(old, Link):
            raise Failed(ENOTSUP)
        if isinstance(old, dict):
            raise Failed(EISDIR)
        return Value((*old.blobs, data), False)

    def _parent(self, root: dict[str, Any], path: list[str], make: bool) -> tuple[dict[str, Any], str] | None:
        """The directory of the last name. Links on the way are followed from the root."""
        followed = 0
        at, directory = 0, root
        while at < len(path) - 1:
            child = directory.get(path[at])
            if isinstance(child, Link):
                followed += 1
                if followed > LINKS_MAX:
                    raise Failed(ELOOP)
                path = names(child.target) + path[at + 1 :]
                at, directory = 0, root
                continue
            if not isinstance(child, dict):
                if not make:
                    return None
                child = directory[path[at]] = {}
            directory = child
            at += 1
        return directory, path[-1]

    def _settle(self, directory: dict[str, Any]) -> None:
        """Values too large to stand in their directories become blobs."""
        for name, node in directory.items():
            if isinstance(node, dict):
                self._settle(node)
            elif isinstance(node, Value) and node.is_inline and len(encoded(node.blobs[0])) > INLINE:
                directory[name] = Value(node.blobs, False)

    # -- reading

    def lookup(self, key: str, flags: int) -> dict[str, Any]:
        """What kvs.lookup answers as ``val``."""
        node = self._node(names(key), follow_last=not flags & (READLINK | TREEOBJ))
        if flags & TREEOBJ:
            return stored(node)
        if flags & READLINK:
            if not isinstance(node, Link):
                raise Failed(EINVAL)
            return stored(node)
        if isinstance(node, dict):
            if not flags & READDIR:
                raise Failed(EISDIR)
            return entry("dir", {name: stored(child) for name, child in node.items()})
        if flags & READDIR:
            raise Failed(ENOTDIR)
        return entry("val", encoded(b"".join(node.blobs)))

    def _node(self, path: list[str], follow_last: bool) -> Any:
        followed = 0
        at: int = 0
        node: Any = self.root
        while at < len(path):
            if not isinstance(node, dict) or path[at] not in node:
                raise Failed(ENOENT)
            node = node[path[at]]
            at += 1
            if isinstance(node, Link) and (at < len(path) or follow_last):
                followed += 1
                if followed > LINKS_MAX:
                    raise Failed(ELOOP)
                path, at, node = names(node.target) + path[at:], 0, self.root
        return node
