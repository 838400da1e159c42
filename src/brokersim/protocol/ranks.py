"""Knows how people write sets of ranks (``0``, ``1-3``, ``0,4``, ``all``; RFC 22); not which ranks are up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from brokersim.protocol.quoting import quoted

ALL = "all"
# A rank takes at most 10 digits (32 bits); the bound also keeps int() away from text of any length.
_PART = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
_HINT = "give ranks as 0, 1-3, 0,4 or all"


def parse_ranks(text: str, size: int) -> list[int]:
    """The ranks meant, ascending, each once; parts may come in any order, blanks and [] around are ignored.

    Raises ValueError for text outside the grammar or a rank that an instance of ``size`` ranks lacks.
    """
    spans = _spans(text)
    if spans is None:
        return list(range(size))
    for first, last in spans:
        if last >= size:  # before any list is built: 0-4294967295 is short to type
            lacking = max(first, size)
            raise ValueError(f"no rank {lacking}: the instance has {_has(size)}")
    return sorted({rank for first, last in spans for rank in range(first, last + 1)})


def check_ranks(text: str) -> str:
    """The same text if it is in the grammar, for callers that do not know the size yet. Raises ValueError."""
    _spans(text)
    return text


def format_ranks(ranks: Iterable[int]) -> str:
    """The shortest text :func:`parse_ranks` reads back: ``0,2-4``; ``""`` for none."""
    spans: list[tuple[int, int]] = []
    for rank in sorted(set(ranks)):
        if spans and spans[-1][1] == rank - 1:
            spans[-1] = (spans[-1][0], rank)
        else:
            spans.append((rank, rank))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, lowest first: a few by arithmetic, many from the text of the number."""
    for _ in range(8):  # each costs a pass over the whole number, and whoever wants one set wants few of it
        if not mask:
            return
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
    text = bin(mask)[:1:-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


def _spans(text: str) -> list[tuple[int, int]] | None:
    """First and last rank of each part; ``None`` for all."""
    inner = text.strip()
    if inner == ALL:
        return None
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    return [_span(part.strip(), text) for part in inner.split(",")]


def _span(part: str, text: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"not a set of ranks: {quoted(text)}; {_HINT}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise ValueError(f"not a set of ranks: {quoted(text)}: {part} counts down; give {last}-{first}")
    return first, last


def _has(size: int) -> str:
    return "rank 0 only" if size == 1 else f"ranks 0-{size - 1}"
