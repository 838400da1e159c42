"""Knows how a number of things is written in a sentence: ``1 line``, ``2 lines``; not what is counted."""

from __future__ import annotations

#: Behind these a word takes -es.
_HISSING = ("s", "x", "ch", "sh")


def counted(number: float, noun: str) -> str:
    """``1 bad line``, ``1,024 bad lines``, ``0 entries``, ``2 series``; the noun is given as it is of one."""
    return f"{number:,} {noun if number == 1 else _many(noun)}"


def one_of(several: str) -> str:
    """The noun as it is of one, from what it is of several: ``line`` of ``lines``, ``flush``, ``entry``, ``series``."""
    if several.endswith("series"):
        return several
    if several.endswith("ies"):
        return f"{several[:-3]}y"
    hissing = several.endswith(tuple(f"{end}es" for end in _HISSING))
    return several.removesuffix("es" if hissing else "s")


def _many(noun: str) -> str:
    if noun.endswith("series"):
        return noun
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun.endswith(_HISSING) else 's'}"
