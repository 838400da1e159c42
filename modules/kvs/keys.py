"""Knows KVS keys, names joined by dots; not what a key leads to."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from brokersim.brokermod import RequestError, errnums

#: Most names a key may have, links followed included. Directories are stored by recursion over the path, and
#: Python's stack bears about a thousand frames; job paths have nine names, flux-core's own tests go to 300.
MAX_NAMES: Final = 512


def split(key: str) -> list[str]:
    """The names of a key, none for the root ``.``; dots in front, behind and repeated count once, as in Flux.

    Raises RequestError(EINVAL) for an empty key and for one of more than MAX_NAMES names.
    """
    names = key.split(".")
    if "" in names:
        if not key:
            raise RequestError(errnums.EINVAL, "a key must not be empty; the root is '.'")
        names = [name for name in names if name]
    return names if len(names) <= MAX_NAMES else bounded(names)


def bounded(names: list[str]) -> list[str]:
    """The same names. Raises RequestError(EINVAL) if they are more than MAX_NAMES."""
    if len(names) > MAX_NAMES:
        raise RequestError(errnums.EINVAL, f"key of {len(names)} names, the limit is {MAX_NAMES}")
    return names


@lru_cache(1024)  # each key is checked and then walked, and logs get line after line
def leaf_names(key: str) -> tuple[str, ...]:
    """The names of a key that can be written. Raises RequestError(EINVAL) for the root as well."""
    names = split(key)
    if not names:
        raise RequestError(errnums.EINVAL, f"key {key!r} is the root directory, which cannot be replaced")
    return tuple(names)
