"""Knows how people write debug masks, and the bits that have names; not what sets them."""

from __future__ import annotations

#: The mask bits with a name: bit, name, meaning.
MASK_BITS = (
    (0x1000, "msgcount", "send the eight message counters as gauges when one moved"),
    (0x2000, "timing", "send timings of single operations"),
    (0x4000, "queue", "send queue lengths"),
    (0x8000, "hooks", "count and time the hooks themselves"),
    (0x10000, "trace", "log every message"),
)
_BIT_BY_NAME = {name: bit for bit, name, _ in MASK_BITS}
_MASK_MAX = 0xFFFFFFFF
#: More digits than 32 bits have in any base.
_LONGEST = 20
_DIGITS = {16: frozenset("0123456789abcdef"), 10: frozenset("0123456789"), 8: frozenset("01234567")}


def parse_mask(text: str) -> int:
    """Hex, octal with a leading 0, decimal, or names joined with ``+``. Raises ValueError that says so."""
    mask = 0
    for part in text.split("+"):
        bits = _BIT_BY_NAME[part] if part in _BIT_BY_NAME else _number(part)
        if bits is None:
            names = ", ".join(_BIT_BY_NAME)
            raise ValueError(f"{part!r} is no mask; give 0x1000, 4096, 010000 or names of {names} with +")
        mask |= bits
    if mask > _MASK_MAX:
        raise ValueError(f"{text!r} has more than 32 bits")
    return mask


def _number(text: str) -> int | None:
    # Not int(text, 0): it would take 0o17, 0b1 and 1_000; and no pattern: re takes as long as all the rest here.
    base, digits = 10, text.lower()
    if digits.startswith("0x"):
        base, digits = 16, digits[2:]
    elif digits.startswith("0"):
        base = 8
    if not digits or len(text) > _LONGEST or not _DIGITS[base].issuperset(digits):
        return None
    return int(digits, base)
