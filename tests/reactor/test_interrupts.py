"""The terminal's ^C, and a KeyboardInterrupt that a module raises by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
import trio

from brokersim.reactor.interrupts import is_failure, is_interrupt, pass_on


def raised(fn: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        fn()
    return caught.value


def own(error: BaseException) -> BaseException:
    def fn() -> None:
        raise error

    return raised(fn)


def of_trio() -> BaseException:
    """Raised by a ``raise`` like any, but where trio turns the signal into it."""
    names = {"__name__": "trio._core._ki"}
    exec("def handler(): raise KeyboardInterrupt", names)
    return raised(names["handler"])  # type: ignore[arg-type]


def in_the_middle() -> BaseException:
    """By Python's own handler, which is in C, wherever the code happens to be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return raised(lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("interrupt", [of_trio, in_the_middle])
def test_what_the_signal_raised_is_passed_on_and_no_failure(interrupt):
    error = interrupt()
    assert is_interrupt(error)
    assert not is_failure(error)
    with pytest.raises(KeyboardInterrupt):
        pass_on(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError()])
def test_what_a_module_raises_itself_is_its_failure(error):
    own(error)
    assert not is_interrupt(error)
    assert is_failure(error)
    pass_on(error)


def test_what_was_never_raised_is_no_interrupt():
    assert not is_interrupt(KeyboardInterrupt())


def test_a_group_is_a_failure_if_all_in_it_are():
    own_ones = [ValueError(), own(KeyboardInterrupt())]
    assert is_failure(BaseExceptionGroup("", own_ones))
    assert not is_failure(BaseExceptionGroup("", [*own_ones, of_trio()]))
    assert is_failure(BaseExceptionGroup("", [*own_ones, GeneratorExit()]))


class Bare(BaseException):
    """Of a module's own: no Exception, and nobody's outcome."""


@pytest.mark.parametrize("error", [GeneratorExit(), asyncio.CancelledError(), Bare()])
def test_a_bare_exception_of_a_modules_own_is_its_failure(error):
    assert is_failure(own(error))
    pass_on(error)


def cancelled() -> BaseException:
    async def main() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                return error
        raise AssertionError("nothing was cancelled")

    return trio.run(main)


@pytest.mark.parametrize("of_the_program", [cancelled, lambda: raised(pytest.skip)], ids=["trio", "pytest"])
def test_what_the_program_around_means_is_passed_on(of_the_program):
    error = of_the_program()
    assert not is_failure(error)
    with pytest.raises(type(error)):
        pass_on(error)
