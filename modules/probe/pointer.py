"""Knows JSON pointers (RFC 6901): one value inside another."""

from __future__ import annotations

from typing import Any


def check_pointer(pointer: Any) -> None:
    """Raises ValueError unless it is a pointer."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ValueError(f"a JSON pointer such as /tx/request is wanted, not {pointer!r:.40}")


def at_pointer(document: Any, pointer: str) -> Any:
    """The value a pointer names. Raises LookupError where there is none."""
    value = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list) and key.isdecimal():
            value = value[int(key)]
        else:
            raise LookupError(pointer)
    return value
