"""The terminal's ^C, and a KeyboardInterrupt that a module raises by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from brokersim.reactor.interrupts import is_failure, is_interrupt, pass_interrupt


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
        pass_interrupt(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError()])
def test_what_a_module_raises_itself_is_its_failure(error):
    own(error)
    assert not is_interrupt(error)
    assert is_failure(error)
    pass_interrupt(error)


def test_what_was_never_raised_is_no_interrupt():
    assert not is_interrupt(KeyboardInterrupt())


def test_a_group_is_a_failure_if_all_in_it_are():
    own_ones = [ValueError(), own(KeyboardInterrupt())]
    assert is_failure(BaseExceptionGroup("", own_ones))
    assert not is_failure(BaseExceptionGroup("", [*own_ones, of_trio()]))
    assert not is_failure(BaseExceptionGroup("", [*own_ones, GeneratorExit()]))
