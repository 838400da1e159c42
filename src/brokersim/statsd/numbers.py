"""Numbers as the peers write and read them on a statsd line.

Knows nothing of keys, types or lines.
"""

from __future__ import annotations

import math
import re
import struct

Number = int | float

# A value above this could overflow a double once it is divided by a short interval or a small rate: it is refused.
LARGEST = 1e300
#: So many digits are the same integer whether it is kept as one or as a double: all dialects agree on them.
EXACT_DIGITS = 15
# The same for a timing, which is squared for the standard deviation.
LARGEST_TIMING = 1e150

_DECIMAL = rb"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_STRICT = re.compile(rb"[ \t]*([+-]?" + _DECIMAL + rb")[ \t]*")
_INTEGER = re.compile(rb"[+-]?\d{1,301}")
_JAVASCRIPT = re.compile(r"[+-]?(?:Infinity|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|0[xX][0-9a-fA-F]+"
                         r"|0[oO][0-7]+|0[bB][01]+", re.ASCII)  # fmt: skip
# What JavaScript takes for blanks: other than Python, the byte order mark, and no separators of ASCII.
JAVASCRIPT_BLANKS = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    + ("\u2028\u2029\u202f\u205f\u3000\ufeff")
)
_STRTOD = re.compile(
    rb"[ \t\v\f\r]*[+-]?(?:"
    + _DECIMAL
    + rb"|0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?\d+)?"
    rb"|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN](?:\([0-9A-Za-z_]*\))?)"
)
_BRUBECK = re.compile(rb"[+-]?\d*(?:\.\d*)?")
_BRUBECK_EXPONENT = re.compile(rb"[+-]?" + _DECIMAL)


def strict_number(field: bytes) -> Number | None:
    """The number in `field`, blanks around it allowed; None if it is none or is not finite.

    An integer stays one, of any size up to `LARGEST`.
    """
    match = _STRICT.fullmatch(field)
    if match is None:
        return None
    text = match[1]
    value: Number = int(text) if _INTEGER.fullmatch(text) else float(text)
    return value if abs(value) <= LARGEST else None


def javascript_number(text: str) -> float:
    """What JavaScript's `Number(text)` gives: blanks trimmed, empty is 0, hex allowed; NaN if it is no number."""
    text = text.strip(JAVASCRIPT_BLANKS)
    if not text:
        return 0.0
    if _JAVASCRIPT.fullmatch(text) is None:
        return math.nan
    if text[:2].lower() in ("0x", "0o", "0b"):
        digits = int(text, 0)
        return float(digits) if digits.bit_length() < 1024 else math.inf
    return float(text)


def strtod_number(field: bytes) -> float | None:
    """What C's `strtod` reads when it must read all of `field`: leading blanks, hex, inf and nan; else None."""
    if _STRTOD.fullmatch(field) is None:
        return None
    text = field.strip().decode("ascii")
    body = text.lstrip("+-").lower()
    if body.startswith("0x"):
        try:
            return float.fromhex(text)
        except OverflowError:
            return -math.inf if text.startswith("-") else math.inf
    return math.nan if body.startswith("nan") else float(text)


def brubeck_number(field: bytes) -> float | None:
    """What brubeck reads: decimal, no blanks; nothing at all is 0. None if it is no number."""
    if _BRUBECK.fullmatch(field):
        digits = field.lstrip(b"+-")
        value = float(digits) if digits not in (b"", b".") else 0.0
        return -value if field[:1] == b"-" else value
    return float(field) if _BRUBECK_EXPONENT.fullmatch(field) else None


def single(value: float) -> float:
    """`value` rounded to IEEE single precision; beyond its range, infinity."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def brubeck_plaintext(value: Number) -> float:
    """`value` as brubeck's plaintext output shows it: single precision, whole part modulo 2³², 4 decimals cut off."""
    rounded = single(value)
    if math.isnan(rounded):
        return rounded
    whole = 2**64 - 1 if math.isinf(rounded) else min(math.floor(abs(rounded)), 2**64 - 1)
    decimals = math.floor(math.modf(abs(rounded))[0] * 10_000) / 10_000
    return math.copysign(whole % 2**32 + decimals, rounded) if rounded else 0.0


def format_number(value: Number) -> str:
    """`value` as it goes on a line: integers in full, floats by `repr`, whole floats without `.0`, never `-0`."""
    if isinstance(value, int):
        return str(int(value))
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
