"""Knows a document that is edited by words: where one stands in it, what was changed, what was there before; pure.

Nothing is written before ``put``: edits are on a copy, and `undo` goes back one.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

import msgspec

from brokersim.protocol.decoded import JsonObject

#: Edits that can be taken back.
UNDO_MAX = 100


class Wrong(Exception):
    """A line that cannot be carried out, and what would be right."""


def shown(value: Any) -> str:
    """As JSON with keys in order."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode()


def to_value(text: str) -> object:
    """JSON where it is, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


class Desk:
    """One document, a place in it, and the edits since it was read."""

    def __init__(self, document: JsonObject) -> None:
        self.base = document
        self.document = copy.deepcopy(document)
        self._path: tuple[str, ...] = ()
        self._before: list[dict[str, object]] = []

    @property
    def path(self) -> str:
        return "/" + "/".join(self._path)

    @property
    def is_changed(self) -> bool:
        return bool(self.document != self.base)

    # -- looking

    def resolve(self, text: str) -> tuple[str, ...]:
        """A path from here, or from the top with a / before it; ``..`` goes up, and no further than the top."""
        found = [] if text.startswith("/") else list(self._path)
        for part in text.split("/"):
            if part == "..":
                found = found[:-1]
            elif part not in ("", "."):
                found.append(part)
        return tuple(found)

    def at(self, path: tuple[str, ...]) -> Any:
        """Raises Wrong that names the nearest."""
        value: Any = self.document
        for depth, key in enumerate(path):
            value = _inside(value, key, "/" + "/".join(path[: depth + 1]))
        return value

    def names(self, text: str = "") -> list[str]:
        """Keys of what stands there; those that have keys themselves with a / behind."""
        value = self.at(self.resolve(text))
        if isinstance(value, dict):
            return [f"{key}/" if isinstance(value[key], dict) else key for key in sorted(value)]
        return []

    def complete(self, text: str) -> list[str]:
        """Paths that begin so."""
        folder, _, begin = text.rpartition("/")
        prefix = f"{folder}/" if "/" in text else ""
        try:
            names = self.names(prefix)
        except Wrong:
            return []
        return [prefix + name for name in names if name.startswith(begin)]

    def diff(self) -> list[str]:
        """Lines that were taken away and put there since it was read."""
        old, new = shown(self.base).splitlines(), shown(self.document).splitlines()
        return list(difflib.unified_diff(old, new, "as it is", "as edited", lineterm="", n=1))

    # -- editing

    def go(self, text: str) -> None:
        """Raises Wrong where there is nothing to stand in."""
        path = self.resolve(text)
        if not isinstance(self.at(path), dict):
            raise Wrong(f"/{'/'.join(path)} is a value, not a place; show prints it")
        self._path = path

    def set(self, text: str, value: Any) -> None:
        """Raises Wrong where its parent is not there."""
        path = self._named(text)
        parent = self._parent(path)
        self._remember()
        parent[path[-1]] = value

    def delete(self, text: str) -> None:
        """Raises Wrong where there is nothing."""
        path = self._named(text)
        self.at(path)
        parent = self._parent(path)
        self._remember()
        del parent[path[-1]]
        self._stay()

    def make(self, text: str, with_parents: bool) -> None:
        """An empty object. Raises Wrong if it, or without ``with_parents`` its parent, is not as that needs."""
        path = self._named(text)
        if not with_parents:
            parent = self._parent(path)
            if path[-1] in parent:
                raise Wrong(f"/{'/'.join(path)} is there already")
        self._check_way(path)
        self._remember()
        place = self.document
        for key in path:
            place = place.setdefault(key, {})

    def undo(self) -> None:
        """Raises Wrong if nothing was done."""
        if not self._before:
            raise Wrong("nothing was changed since it was read")
        self.document = self._before.pop()
        self._stay()

    def written(self, document: dict[str, object]) -> None:
        """It was written, and this is what stands there now; what was edited before can be taken back all the same."""
        self.base = document
        self.document = copy.deepcopy(document)
        self._stay()

    # -- inside

    def _named(self, text: str) -> tuple[str, ...]:
        path = self.resolve(text)
        if not path:
            raise Wrong("/ is the document itself: name a key in it")
        return path

    def _parent(self, path: tuple[str, ...]) -> dict[str, object]:
        where = "/".join(("", *path[:-1]))
        try:
            parent = self.at(path[:-1])
        except Wrong as error:
            hint = "" if "meant" in str(error) else f"; mkdir -p {where} makes it"
            raise Wrong(f"{error}{hint}") from None
        if not isinstance(parent, dict):
            raise Wrong(f"{where} is a value and has no keys")
        return parent

    def _check_way(self, path: tuple[str, ...]) -> None:
        place: Any = self.document
        for depth, key in enumerate(path):
            if key not in place:
                return
            place = place[key]
            if not isinstance(place, dict):
                raise Wrong(f"/{'/'.join(path[: depth + 1])} is a value and has no keys")

    def _remember(self) -> None:
        self._before = [*self._before[1 - UNDO_MAX :], copy.deepcopy(self.document)]

    def _stay(self) -> None:
        """Where one stood may be gone: then one stands as near as there is something."""
        while self._path:
            try:
                if isinstance(self.at(self._path), dict):
                    return
            except Wrong:
                pass
            self._path = self._path[:-1]


def _inside(value: object, key: str, where: str) -> object:
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    if not isinstance(value, dict) or key not in value:
        known = value if isinstance(value, dict) else ()
        near = difflib.get_close_matches(key, known, n=1)
        raise Wrong(f"there is no {where}{f'; is {near[0]} meant?' if near else ''}")
    return value[key]
