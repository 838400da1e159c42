"""Knows Flux Standard Duration (RFC 23): ``0.5s``, ``25ms``, ``2m``; not clocks, nor what the time is for."""

from __future__ import annotations

import math
import re

from brokersim.protocol.quoting import quoted

#: Seconds in each suffix, longest first; no suffix means seconds.
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# Decimal only: RFC 23 would take all of strtod, but in its hexadecimal floats the suffix d is a digit.
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?(ms|[smhd])?")
_INFINITY = ("infinity", "inf")
_HINT = "give a number and ms, s, m, h or d (none is seconds): 0.5s, 25ms, 2m"


def parse_duration(text: str) -> float:
    """Seconds, 0 or more; ``infinity`` and ``inf`` are math.inf. Blanks around are ignored.

    Raises ValueError that says what would be right.
    """
    written = text.strip()
    if written in _INFINITY:
        return math.inf
    match = _NUMBER.fullmatch(written) if len(written) <= 60 else None
    if match is None:
        raise ValueError(f"not a duration: {quoted(text)}; {_HINT}")
    suffix = match[3] or ""
    number = float(written.removesuffix(suffix) if suffix else written)
    # 25ms is 25/1000 and not 25*0.001: only division gives the double nearest to what was written.
    seconds = number / 1000 if suffix == "ms" else number * UNITS[suffix or "s"]
    if math.isinf(seconds):
        raise ValueError(
            f"not a duration: {quoted(text)} is too long for a float; write infinity if that is meant"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Text that :func:`parse_duration` reads back as the same float, in the longest unit that is still short.

    ``1.5m``, ``25ms``, ``0s``; but ``100s``, which is no round number of minutes. Raises ValueError below 0.
    """
    if not seconds >= 0:
        raise ValueError(f"a duration is 0 or more seconds, not {seconds}")
    if math.isinf(seconds):
        return _INFINITY[0]
    for suffix in _units_for(seconds):
        text = f"{seconds / UNITS[suffix]:.6g}{suffix}"
        if "e+" not in text and parse_duration(text) == seconds:
            return text
    return f"{seconds:.0f}s" if seconds < 1e15 and seconds == int(seconds) else f"{float(seconds)!r}s"


def round_duration(seconds: float) -> str:
    """Text for a person, of two digits as flux-core rounds them: ``58s``, ``1.5h``, ``3.1d``; ``50ms`` below 0.1 s.

    Raises ValueError below 0.
    """
    if not seconds >= 0:
        raise ValueError(f"a duration is 0 or more seconds, not {seconds}")
    if math.isinf(seconds):
        return _INFINITY[0]
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.2g}ms"
    suffix = next((one for one in "dhm" if seconds >= UNITS[one]), "s")
    return f"{seconds / UNITS[suffix]:.2g}{suffix}"


def _units_for(seconds: float) -> list[str]:
    """Suffixes that leave a number of 1 or more; below a second, ms."""
    if 0 < seconds < 1:
        return ["ms"]
    return [suffix for suffix, scale in UNITS.items() if seconds >= scale and suffix != "ms"]
