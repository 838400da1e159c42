"""Knows job ids (FLUIDs, RFC 19): their bits and the ways to write them; not which jobs exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from brokersim.protocol.quoting import quoted

TIMESTAMP_BITS: Final = 40
GENERATOR_BITS: Final = 14
SEQUENCE_BITS: Final = 10
#: Ids one generator can make in one millisecond.
SEQUENCE_MAX: Final = (1 << SEQUENCE_BITS) - 1
JOBID_MAX: Final = (1 << 64) - 1

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_ALPHABET)}
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]{1,16}")
_DOTHEX: Final = re.compile(r"(?:job\.)?((?:[0-9a-fA-F]{4}\.){3}[0-9a-fA-F]{4})")


def make(milliseconds: int, generator: int, sequence: int) -> int:
    """The id of the ``sequence``-th job that ``generator`` (a rank) took in one millisecond since its epoch.

    Raises ValueError if a part does not fit its 40, 14 or 10 bits.
    """
    parts = (
        ("milliseconds", milliseconds, TIMESTAMP_BITS),
        ("generator", generator, GENERATOR_BITS),
        ("sequence", sequence, SEQUENCE_BITS),
    )
    for name, value, bits in parts:
        if value >> bits:  # negative values stay negative, so they are caught as well
            raise ValueError(f"job id: {name} must be 0 to {(1 << bits) - 1}, not {value}")
    return milliseconds << (GENERATOR_BITS + SEQUENCE_BITS) | generator << SEQUENCE_BITS | sequence


def split(jobid: int) -> tuple[int, int, int]:
    """The parts :func:`make` put together: milliseconds, generator, sequence."""
    _check(jobid)
    generator = jobid >> SEQUENCE_BITS & ((1 << GENERATOR_BITS) - 1)
    return jobid >> (GENERATOR_BITS + SEQUENCE_BITS), generator, jobid & SEQUENCE_MAX


def encode(jobid: int) -> str:
    """F58: ``ƒ`` and base 58, as users see job ids. Raises ValueError if it does not fit 64 bits."""
    _check(jobid)
    digits = ""
    while jobid >= 58:
        jobid, value = divmod(jobid, 58)
        digits = _ALPHABET[value] + digits
    return f"ƒ{_ALPHABET[jobid]}{digits}"


def decode(text: str) -> int:
    """The id in any form a user may type: F58 (``ƒ`` or ``f`` before it), decimal, ``0x`` hex, dotted hex.

    Blanks around it are ignored (RFC 19). Raises ValueError that says what would be right.
    """
    written = text.strip()
    for form, value in _FORMS:
        if form.fullmatch(written):
            jobid = value(written)
            if jobid <= JOBID_MAX:
                return jobid
            raise ValueError(f"not a job id: {text!r} needs more than 64 bits")
    raise ValueError(f"not a job id: {quoted(text)}; give F58 (ƒ3PVFXvJb) or decimal")


def dothex(jobid: int) -> str:
    """Sixteen hex digits in four groups: ``0000.04cb.8900.0000``."""
    _check(jobid)
    digits = f"{jobid:016x}"
    return f"{digits[:4]}.{digits[4:8]}.{digits[8:12]}.{digits[12:]}"


def job_kvspath(jobid: int, key: str | None = None) -> str:
    """The KVS directory of a job, or a key in it: ``job.0000.04cb.8900.0000.eventlog``."""
    path = f"job.{dothex(jobid)}"
    return f"{path}.{key}" if key else path


def _check(jobid: int) -> None:
    if jobid >> 64:
        raise ValueError(f"not a job id: {jobid}; it must be 0 to {JOBID_MAX}")


def _from_f58(text: str) -> int:
    jobid = 0
    for digit in text[1:]:
        jobid = jobid * 58 + _VALUES[digit]
    return jobid


def _from_dothex(text: str) -> int:
    return int(text.removeprefix("job.").replace(".", ""), 16)


# 13 base-58 digits reach beyond 64 bits; longer text would only cost time.
_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[str], int]], ...]] = (
    (re.compile(f"[ƒf][{_ALPHABET}]{{1,13}}"), _from_f58),
    (_DECIMAL, int),
    (_HEX, lambda text: int(text, 16)),
    (_DOTHEX, _from_dothex),
)
