"""Knows what a callback raises that its module may not keep, a ^C at the terminal first of all; not who handles it."""

from __future__ import annotations

import dis
from typing import Final

_RAISE = dis.opmap["RAISE_VARARGS"]
#: Where trio turns the signal into the exception.
_TRIO = "trio._core._ki"
#: Packages whose bare BaseExceptions mean the program around the instance: cancellation, the outcome of a test.
_OF_THE_PROGRAM: Final = frozenset({"trio", "pytest", "_pytest", "hypothesis"})


def is_interrupt(error: BaseException) -> bool:
    """The terminal's ^C? A ``raise`` of a module's own is a failure of it like any.

    What a signal raised has no ``raise`` of theirs at its origin: it came up in trio's handler, or in the middle.
    """
    if not isinstance(error, KeyboardInterrupt) or error.__traceback__ is None:
        return False
    origin = error.__traceback__
    while origin.tb_next is not None:
        origin = origin.tb_next
    frame = origin.tb_frame
    return frame.f_globals.get("__name__") == _TRIO or frame.f_code.co_code[origin.tb_lasti] != _RAISE


def pass_on(error: BaseException) -> None:
    """Raises ``error`` on if no module's end may swallow it; else does nothing."""
    if not is_failure(error):
        raise error


def is_failure(error: BaseException) -> bool:
    """Does it end its module and nothing else? Of a nursery's group, all that is in it has to."""
    if isinstance(error, Exception):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_failure, error.exceptions))
    # By the bases: pytest gives its outcomes out as builtins.
    packages = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return not (packages & _OF_THE_PROGRAM or is_interrupt(error))
