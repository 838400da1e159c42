"""Knows whether a regular expression of somebody else's is found in a text, in steps that are counted; no records.

Python's own engine goes back and tries again: ``(a+)+$`` takes as long as it likes, and whoever may ask would hold the
broker. Here each character is looked at once, with all states in which the expression may be (Thompson's way); what
one look found is remembered. The syntax is a part of Python's, which also says what is no expression.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Final, TypeAlias

from .pattern import Parser

#: Characters of an expression.
PATTERN_MAX: Final = 200
#: Steps that all expressions of one question may take: about a second here. A text of 30 characters takes 30.
STEPS_MAX: Final = 1_000_000
#: Looks that are remembered by an expression; then it begins anew.
_LOOKS_MAX: Final = 10_000

#: What stands before a character: nothing, one of no word, one of a word. What follows: a character, "" for nothing.
_BEGIN, _NO_WORD, _WORD = range(3)
#: A line end that is the last character: ``$`` holds before it.
_LAST: Final = "\n$"
_Nodes: TypeAlias = frozenset[int]
#: Where it may be after a character, what that was, and whether it was found before it.
_Looked: TypeAlias = tuple[_Nodes, int, bool]
_is_word: Final = re.compile(r"\w").match


class TooLong(Exception):
    """The steps are used up."""


class Steps:
    """How many steps one question has left, over all texts."""

    def __init__(self, left: int = STEPS_MAX) -> None:
        self.left = left

    def take(self, count: int) -> None:
        """Raises TooLong."""
        self.left -= count
        if self.left < 0:
            raise TooLong


class Expression:
    """One expression. Raises ValueError for one that is none, or has in it what is not known here."""

    def __init__(self, text: str) -> None:
        if len(text) > PATTERN_MAX:
            raise ValueError(f"it is longer than {PATTERN_MAX} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sets in sets, for who wrote it, and not for who serves
                re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None
        parser = Parser(text)
        #: For each node a test of the next character and the node behind it; an anchor; or nodes it stands for.
        self._tests, self._anchors, self._forks = parser.tests, parser.anchors, parser.forks
        self._start, self._end = parser.whole()
        self._looks: dict[tuple[_Nodes, int, str], _Looked] = {}

    def is_in(self, text: str, steps: Steps) -> bool:
        """Whether it is found anywhere. Raises TooLong."""
        steps.take(len(text) + 1)
        looks = self._looks
        states: _Nodes = frozenset()
        before = _BEGIN
        for char in _characters(text):
            look = (states, before, char)
            known = looks.get(look)
            states, before, is_found = known if known is not None else self._look(look, steps)
            if is_found:
                return True
        return False

    def _look(self, look: tuple[_Nodes, int, str], steps: Steps) -> _Looked:
        states, before, char = look
        seen: set[int] = set()
        to_do = [*states, self._start]  # it may begin anywhere
        while to_do:
            node = to_do.pop()
            if node not in seen:
                seen.add(node)
                anchor = self._anchors.get(node)
                if anchor is None or _holds(anchor, before, char):
                    to_do += self._forks.get(node, ())
        steps.take(len(seen))
        after = frozenset(
            self._tests[node][1] for node in seen if node in self._tests and self._tests[node][0](char)
        )
        if len(self._looks) >= _LOOKS_MAX:
            self._looks.clear()
        found = self._looks[look] = (after, _WORD if _is_word(char) else _NO_WORD, self._end in seen)
        return found


def _characters(text: str) -> Iterator[str]:
    if text.endswith("\n"):
        yield from text[:-1]
        yield _LAST
    else:
        yield from text
    yield ""


def _holds(anchor: str, before: int, char: str) -> bool:
    if anchor in ("^", r"\A"):
        return before == _BEGIN
    if anchor == "$":
        return char in ("", _LAST)
    if anchor == r"\Z":
        return not char
    return (anchor == r"\b") == ((before == _WORD) != bool(_is_word(char)))
