"""Knows what stands for our few characters beyond ASCII where the locale is not UTF-8; not when to print them."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Final

#: Job ids may be written with ``f`` (RFC 19); the rest is typography.
ASCII: Final = {
    "ƒ": "f", "—": "-", "–": "-", "…": "...", "·": "-", "×": "x", "µ": "u", "✓": "ok", "✗": "FAILED", "≤": "<=",
}  # fmt: skip
_NAME: Final = "brokersim-ascii"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(ASCII.get(one, "?") for one in text), error.end


def use_fallback() -> None:
    """From now on stdout and stderr print an equivalent for what their encoding lacks, rather than fail."""
    codecs.register_error(_NAME, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors=_NAME)
