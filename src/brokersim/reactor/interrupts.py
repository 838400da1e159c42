"""Knows a ^C at the terminal from a KeyboardInterrupt that a module raises; not who handles either."""

from __future__ import annotations

import dis

from brokersim.reactor.actor import FAILURES

_RAISE = dis.opmap["RAISE_VARARGS"]
#: Where trio turns the signal into the exception.
_TRIO = "trio._core._ki"


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


def pass_interrupt(error: BaseException) -> None:
    """Raises ``error`` on if it is the terminal's ^C, which no module's end may swallow; else does nothing."""
    if is_interrupt(error):
        raise error


def is_failure(error: BaseException) -> bool:
    """Does it end its module and nothing else (``FAILURES``)? Of a nursery's group, all that is in it has to."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_failure(one) for one in error.exceptions)
    return isinstance(error, FAILURES) and not is_interrupt(error)
