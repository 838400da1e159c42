"""Knows how a long command is broken off in good order, by ^C or by a signal; not what it has to put away."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from brokersim.cli.errors import INTERRUPTED
from brokersim.cli.session import Session

#: What ends a batch job, and what a terminal that goes sends.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
#: A shell's exit code for a command that a signal ended.
_BY_SIGNAL = 128


@contextmanager
def told_when_broken_off(session: Session, kept: Callable[[], str]) -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP do what ^C does: KeyboardInterrupt, so instances are stopped and files closed.

    Then one line says what is ``kept``. The exit code is 130, or 128 and the signal's number. The first signal counts:
    who sends one to the whole group, as timeout(1) does, sends us two.
    """
    came: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            return
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a script runs in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # By the handler of SIGINT, which trio makes its own while it runs: it raises where nothing is torn.
        signal.raise_signal(signal.SIGINT)

    heard = [
        number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    ]  # nohup ignores one
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    except KeyboardInterrupt:
        session.say(f"interrupted: {kept()}")
        click.get_current_context().exit(_BY_SIGNAL + came[0] if came else INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
