"""Knows the arguments of kvs; not what they do."""

from __future__ import annotations

from typing import Final

import attrs

from brokersim.brokermod import RequestError, blobref, errnums


@attrs.frozen
class Options:
    """Whether commits that wait are merged; the root of the primary namespace if there is no checkpoint."""

    merge: bool = True
    initial_rootref: str | None = None


_KNOWN: Final = "transaction-merge=0|1, initial-rootref=BLOBREF"


def options(name: str, args: tuple[str, ...]) -> Options:
    """Raises RequestError(EINVAL) that says what is known."""
    found = Options()
    for arg in args:
        key, _, value = arg.partition("=")
        if key == "transaction-merge" and value in ("0", "1"):
            found = attrs.evolve(found, merge=value == "1")
        elif key == "initial-rootref" and blobref.is_blobref(value):
            found = attrs.evolve(found, initial_rootref=value)
        else:
            raise RequestError(errnums.EINVAL, f"module {name!r}: argument {arg!r}; known are {_KNOWN}")
    return found
