"""Knows how an error text quotes the value it complains of; not what is wrong with the value."""

from __future__ import annotations

from typing import Final

#: Characters of a value that an error shows: enough to recognise it, and a peer may have sent megabytes.
LIMIT: Final = 60


def quoted(value: object) -> str:
    """The value as Python would write it, cut after 60 characters; the name of its type if that fails."""
    if isinstance(value, str):
        return repr(value) if len(value) <= LIMIT else f"{value[:LIMIT]!r}…"
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or an integer of thousands of digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}…"
