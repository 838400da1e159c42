"""Knows how thousands of differences are applied to a large blob, one after the other; not where they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brokersim.brokermod import blobref

#: Bytes that a change moves at most: of one piece it would move all that is behind it, 25 of 50 MB for a difference.
_PIECE: Final = 64 * 1024


def patched(whole: bytes, patches: Iterable[blobref.Patch]) -> bytes:
    """What the bytes have become after all differences, in that order. Raises ValueError if one is damaged."""
    pieces = [bytearray(whole[at : at + _PIECE]) for at in range(0, len(whole), _PIECE)] or [bytearray()]
    for patch in patches:
        for hunk in reversed(patch.hunks):
            _change(pieces, *hunk)
    return b"".join(pieces)


def _change(pieces: list[bytearray], offset: int, removed: int, inserted: bytes) -> None:
    first, start = _find(pieces, 0, offset)
    last, end = _find(pieces, first, start + removed)
    if last > first:
        merged = bytearray().join(pieces[first : last + 1])
        end += len(merged) - len(pieces[last])
        pieces[first : last + 1] = [merged]
    pieces[first][start:end] = inserted


def _find(pieces: list[bytearray], at: int, offset: int) -> tuple[int, int]:
    """In which piece, from ``at`` on, the byte at an offset is, and where in it; its end for one behind the last."""
    while offset > len(pieces[at]) and at + 1 < len(pieces):
        offset -= len(pieces[at])
        at += 1
    return at, offset
