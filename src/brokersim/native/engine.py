"""Knows where the compiled reactor is used: `twin` marks what has a C twin. Doesn't know what that does (_engine.c).

A class keeps its fields, which C finds by their slots, and those of its methods that are not compiled. So there is one
class on either engine, and one place that says what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from brokersim.native import look

It = TypeVar("It")
_take_over: Callable[[Any], Any] | None = None
_why = ""
try:
    look("_engine")
    from brokersim.native._engine import take_over as _take_over
except ImportError as error:  # NotCompiled, or a file that was compiled for another Python
    _why = str(error)


def engine() -> str:
    """Which engine runs, for people: ``compiled``, or ``Python`` and why."""
    return f"Python ({_why})" if _take_over is None else "compiled"


def twin(it: It) -> It:
    """Decorates what has a C twin: a class whose methods C does where it can be had, or a function.

    Returns the class itself, with those methods exchanged, or the function that does it.
    """
    global _take_over, _why
    if _take_over is None:
        return it
    try:
        taken: It = _take_over(it)
        return taken
    except TypeError as error:
        # A library, or a later Python, keeps the fields otherwise: from here on Python does the work.
        _take_over, _why = None, str(error)
        return it
