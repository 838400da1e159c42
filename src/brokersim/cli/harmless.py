"""Knows which characters of somebody else's text move a terminal's cursor, or worse, and how they are shown instead."""

from __future__ import annotations

import re

#: Colours are let through, as they are ours; then control characters but newline and tab, and those that turn the
#: direction of text round.
_FOUND = re.compile("(\x1b\\[[0-9;]*m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """The text as a terminal may have it: ``\\x1b`` is written, not sent."""
    return _FOUND.sub(lambda found: found[1] or _written(found[0]), text)


def written(text: str) -> str:
    """The text in one line without any control of a terminal, colours included: for a screen that is drawn anew."""
    return _CONTROL.sub(lambda found: _written(found[0]), text)


def _written(char: str) -> str:
    return char.encode("unicode_escape").decode()
