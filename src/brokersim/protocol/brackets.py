"""Knows how deep JSON from a peer may be nested, and whether a text or a value is nested deeper. Not what it says.

Who walks a value a call at a time needs Python's stack for it, and a frame may hold a million levels. jansson, by which
Flux reads, ends at 2,048; nothing that Flux or a module sends has more than about twenty, but a commit of directories
in each other (`treeobj.MAX_DEPTH`) with two levels each.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate
from typing import Final

#: Levels at most: a walk of two calls a level stays below Python's 1,000.
DEEPEST: Final = 300
#: Passes that take one level of pairs off each, for what is wide and flat as nearly all that is long is.
_PASSES: Final = 16
_CHUNK: Final = 1 << 16
_ALL_BUT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
#: An opening bracket is 1, a closing one -1.
_STEPS: Final = bytes(0xFF if byte in b"]}" else 1 for byte in range(256))
#: Levels. Ours has a dozen at most, 16 nested schedules some 50; JSON decoders take 1,000, at which recursion ends.
NESTING_MAX: Final = 64
_CONTAINERS: Final = (dict, list, tuple)


def is_too_deep(text: bytes) -> bool:
    """JSON is nested more than `DEEPEST` levels. Of what is no JSON either may be said."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    brackets = text.translate(None, _ALL_BUT_BRACKETS)
    for _ in range(_PASSES):
        length = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
        if len(brackets) > length // 2:
            break  # deep, or brackets in strings
    return _reaches(_STRINGS.sub(b"", text).translate(_STEPS, _ALL_BUT_BRACKETS))


def _reaches(steps: bytes) -> bool:
    depth = 0
    for at in range(0, len(steps), _CHUNK):
        depths = list(accumulate(array("b", steps[at : at + _CHUNK]), initial=depth))
        if max(depths) > DEEPEST:
            return True
        depth = depths[-1]
    return False


def check_nesting(value: object, what: str) -> None:
    """Raises ValueError, which says ``what`` it is, for objects and lists in each other beyond 64 levels."""
    level = [value]
    for _ in range(NESTING_MAX + 1):
        level = [
            inner
            for one in level
            if isinstance(one, _CONTAINERS)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return
    raise ValueError(f"{what} nests objects and lists at most {NESTING_MAX} deep")
