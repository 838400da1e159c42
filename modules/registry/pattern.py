"""Knows what a regular expression says: nodes, what each wants of a character, where each leads; not any text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Final, TypeAlias

#: Nodes that an expression may become: ``x{300}`` is 300.
NODES_MAX: Final = 1000
_REPEAT: Final = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}", re.ASCII)
_CLASS: Final = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|0[0-7]{0,2}|N\{[^}]*\}|\D)", re.DOTALL
)
_GROUP: Final = re.compile(r"\((?:\?:|\?P<\w+>)?(?!\?)")
_FLAGS: Final = re.compile(r"\(\?([is]+)\)")
_ANCHORS: Final = ("^", "$", r"\A", r"\Z", r"\b", r"\B")
_KNOWN: Final = (
    r"only literals, . [...] \d \w \s, groups, | * + ? {m,n}, ^ $ \A \Z \b \B and (?i) (?s) at the beginning"
)
#: Makes the nodes of a part, as often as it is called: its first and its last.
_Recipe: TypeAlias = Callable[[], tuple[int, int]]


class Parser:
    """Nodes of an expression that `re` found to be one."""

    def __init__(self, text: str) -> None:
        self._flags = re.NOFLAG
        given = _FLAGS.match(text)
        for letter in given[1] if given else "":
            self._flags |= re.IGNORECASE if letter == "i" else re.DOTALL
        self._text = text
        self._at = given.end() if given else 0
        self._count = 0
        self.tests: dict[int, tuple[Callable[[str], object], int]] = {}
        self.anchors: dict[int, str] = {}
        self.forks: dict[int, tuple[int, ...]] = {}

    def whole(self) -> tuple[int, int]:
        """Its first node and its last."""
        return self._either()()

    # -- what is read is a recipe, since a repeat makes its nodes several times

    def _either(self) -> _Recipe:
        branches = [self._row()]
        while self._text.startswith("|", self._at):
            self._at += 1
            branches.append(self._row())
        if len(branches) == 1:
            return branches[0]

        def build() -> tuple[int, int]:
            ends = [branch() for branch in branches]
            last = self._node()
            for _, end in ends:
                self.forks[end] = (last,)
            return self._node(*(first for first, _ in ends)), last

        return build

    def _row(self) -> _Recipe:
        parts: list[_Recipe] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._one()))

        def build() -> tuple[int, int]:
            first = last = self._node()
            for part in parts:
                begin, end = part()
                self.forks[last] = (begin,)
                last = end
            return first, last

        return build

    def _one(self) -> _Recipe:
        text, at = self._text, self._at
        group = _GROUP.match(text, at)
        if group is not None:
            self._at = group.end()
            inner = self._either()
            self._at += 1
            return inner
        anchor = next((one for one in _ANCHORS if text.startswith(one, at)), None)
        if anchor is not None:
            self._at += len(anchor)
            return lambda: self._anchored(anchor)
        found = _CLASS.match(text, at) or _ESCAPE.match(text, at)
        if found is None and text[at] in "([\\":
            raise ValueError(f"{text[at : at + 4]!r} is not known here, {_KNOWN}")
        piece = found[0] if found is not None else text[at] if text[at] == "." else re.escape(text[at])
        self._at += len(found[0]) if found is not None else 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test = re.compile(piece, self._flags).match
        return lambda: self._tested(lambda char: char and test(char[0]))

    def _repeated(self, part: _Recipe) -> _Recipe:
        while True:
            found = _REPEAT.match(self._text, self._at)
            if found is None or found[0] == "{}":
                return part
            self._at = found.end()
            if self._text.startswith(
                "?", self._at
            ):  # whether little or much is taken is one to who only asks if
                self._at += 1
            elif self._text.startswith("+", self._at):
                raise ValueError(f"{found[0]}+ is not known here, {_KNOWN}")
            part = self._times(part, *_bounds(found))

    def _times(self, part: _Recipe, least: int, most: int | None) -> _Recipe:
        def build() -> tuple[int, int]:
            first = last = self._node()
            for _ in range(least):
                begin, end = part()
                self.forks[last] = (begin,)
                last = end
            if most is None:
                begin, end = part()
                after = self._node()
                self.forks[last] = self.forks[end] = (begin, after)
                return first, after
            after = self._node()
            for _ in range(most - least):
                begin, end = part()
                self.forks[last] = (begin, after)
                last = end
            self.forks[last] = (after,)
            return first, after

        return build

    # -- nodes

    def _node(self, *forks: int) -> int:
        self._count += 1
        if self._count > NODES_MAX:
            raise ValueError(f"it repeats too much: it comes to more than {NODES_MAX} nodes")
        if forks:
            self.forks[self._count] = forks
        return self._count

    def _tested(self, test: Callable[[str], object]) -> tuple[int, int]:
        first, last = self._node(), self._node()
        self.tests[first] = (test, last)
        return first, last

    def _anchored(self, anchor: str) -> tuple[int, int]:
        first, last = self._node(), self._node()
        self.anchors[first] = anchor
        self.forks[first] = (last,)
        return first, last


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    if not found[0].startswith("{"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[0]]
    least = int(found[1] or 0)
    if not found[2]:
        return least, least
    return least, int(found[3]) if found[3] else None
