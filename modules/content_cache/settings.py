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
    """From the attributes ``content.*``, over them module arguments. Raises RequestError(EINVAL) naming the bad one."""
    limits: dict[str, int] = {}
    for field, least in _LEAST.items():
        name = f"content.{field.replace('_', '-')}"
        text = handle.attr_get(name)
        if text is not None:
            limits[field] = _whole(f"attribute {name}", text, least)
    timing = "entry"
    for arg in args:
        key, _, value = arg.partition("=")
        field = key.replace("-", "_")
        if key == "timing" and value in TIMINGS:
            timing = value
        elif field in _LEAST:
            limits[field] = _whole(f"module {handle.name!r}: argument {key}", value, _LEAST[field])
        else:
            names = ", ".join(f"{one.replace('_', '-')}=N" for one in _LEAST)
            kinds = " or ".join(f"timing={kind}" for kind in TIMINGS)
            raise RequestError(
                errnums.EINVAL, f"module {handle.name!r}: argument {arg!r}; give {kinds}, or {names}"
            )
    return Settings(**limits, timing=timing)


def _whole(what: str, text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise RequestError(errnums.EINVAL, f"{what} is {text!r}; it must be a whole number, {least} or more")
    return number
