"""Knows whether sums by key are counted and merged in C (_sums.c). What they are for is in modules/metrics, the twin.

Where `is_compiled` is False, Python does the work, and nothing else here is to be used. It is asked anew each time, so
that tests can drive both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from brokersim.native import look

__all__ = ["Cell", "Counter", "Sums", "Taps", "is_compiled", "is_sums", "unobserved"]
try:
    look("_sums")
    from brokersim.native._sums import Cell, Counter, Sums, Taps, unobserved

    Sequence.register(Sums)
    is_compiled = True
except ImportError:  # NotCompiled, or a file that was compiled for another Python
    is_compiled = False


def is_sums(rows: object) -> TypeGuard[Sums]:
    """Rows that C keeps."""
    return is_compiled and type(rows) is Sums
