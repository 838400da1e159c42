"""Knows the limits of a content cache, where they come from and what they may be; not what they limit."""

from __future__ import annotations

from typing import Final

import attrs

from brokersim.brokermod import Handle, RequestError, errnums

from .entries import PURGE_OLD_ENTRY, PURGE_TARGET_SIZE
from .timing import TIMINGS


@attrs.frozen(kw_only=True)
class Settings:
    """Limits of one cache: counts, bytes, heartbeats. Defaults are flux-core's."""

    flush_batch_limit: int = 256
    blob_size_limit: int = 1 << 30
    purge_target_size: int = PURGE_TARGET_SIZE
    purge_old_entry: int = PURGE_OLD_ENTRY
    timing: str = "entry"


_LEAST: Final = {
    "flush_batch_limit": 1,
    "blob_size_limit": 0,
    "purge_target_size": 0,
    "purge_old_entry": 0,
}


def settings(handle: Handle, args: tuple[str, ...]) -> Settings:
    """From the attributes ``content.*`` and the module arguments. Raises RequestError(EINVAL) naming the bad one."""
    limits: dict[str, int] = {}
    for field, least in _LEAST.items():
        name = f"content.{field.replace('_', '-')}"
        text = handle.attr_get(name)
        if text is not None:
            limits[field] = _whole(name, text, least)
    return Settings(**limits, timing=_timing(handle.name, args))


def _whole(name: str, text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise RequestError(
            errnums.EINVAL, f"attribute {name} is {text!r}; it must be a whole number, {least} or more"
        )
    return number


def _timing(name: str, args: tuple[str, ...]) -> str:
    timing = "entry"
    for arg in args:
        key, _, timing = arg.partition("=")
        if key != "timing" or timing not in TIMINGS:
            known = " or ".join(f"timing={kind}" for kind in TIMINGS)
            raise RequestError(errnums.EINVAL, f"module {name!r}: argument {arg!r}; give {known}")
    return timing
