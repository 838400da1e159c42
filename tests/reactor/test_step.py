"""Stepped coroutines: they await the reactor's waits and nothing else, and end when they are thrown out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio

from brokersim.protocol.errnums import EEXIST, RequestError
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.step import ModuleUnloaded, Stepper, Wait
from tests.reactor.probe import run_until


class Gate(Wait):
    """Ends when ``open`` is called; knows whether it was abandoned."""

    def __init__(self, reactor: Reactor, broken: Exception | None = None) -> None:
        super().__init__(reactor)
        self.resume: Any = None
        self.broken = broken
        self.is_abandoned = False

    def begin(self, resume: Any) -> None:
        if self.broken is not None:
            raise self.broken
        self.resume = resume

    def open(self, value: Any = None, error: BaseException | None = None) -> None:
        self.resume(value, error)

    def abandon(self) -> None:
        self.is_abandoned = True


class Delay(Wait):
    def __init__(self, reactor: Reactor, seconds: float) -> None:
        super().__init__(reactor)
        self.seconds = seconds

    def begin(self, resume: Any) -> None:
        self.reactor.call_later(self.seconds, resume, None, None)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def ends() -> list[BaseException | None]:
    return []


@pytest.fixture
def step(reactor, ends) -> Callable[[Coroutine[Any, Any, Any]], Stepper]:
    def start(coroutine: Coroutine[Any, Any, Any]) -> Stepper:
        stepper = Stepper(reactor, coroutine, lambda _, error: ends.append(error))
        stepper.start()
        return stepper

    return start


def test_a_coroutine_runs_at_once_to_its_first_wait_and_on_when_that_ends(reactor, step, ends):
    log: list[Any] = []
    gate = Gate(reactor)

    async def work() -> None:
        log.append("begun")
        log.append(await gate)

    step(work())
    assert (log, ends) == (["begun"], [])
    gate.open("answer")
    assert (log, ends) == (["begun", "answer"], [None])


def test_an_error_of_a_wait_is_raised_where_it_is_awaited(reactor, step, ends):
    gate = Gate(reactor)
    caught: list[Exception] = []

    async def work() -> None:
        try:
            await gate
        except RequestError as error:
            caught.append(error)

    step(work())
    error = RequestError(EEXIST, "taken")
    gate.open(error=error)
    assert caught == [error]
    assert ends == [None]


def test_a_wait_that_cannot_begin_raises_in_the_coroutine_not_in_who_started_it(reactor, step, ends):
    error = RequestError(EEXIST, "taken")

    async def work() -> None:
        await Gate(reactor, broken=error)

    step(work())
    assert ends == [error]


def test_what_a_coroutine_raises_is_handed_to_its_end(reactor, step, ends):
    async def work() -> None:
        await Delay(reactor, 1.0)
        raise ValueError("broken")

    step(work())
    run_until(reactor, 1.0)
    assert [repr(error) for error in ends] == ["ValueError('broken')"]


def test_delays_take_exactly_their_time_and_many_coroutines_run_in_the_order_they_were_started(reactor, step):
    log: list[tuple[float, str]] = []

    async def work(name: str) -> None:
        for _ in range(2):
            await Delay(reactor, 0.5)
            log.append((reactor.now / NS, name))

    for name in "abc":
        step(work(name))
    run_until(reactor, 2.0)
    assert log == [(0.5, "a"), (0.5, "b"), (0.5, "c"), (1.0, "a"), (1.0, "b"), (1.0, "c")]


@pytest.mark.parametrize("awaitable", [lambda: trio.lowlevel.checkpoint(), lambda: _Alien()])
def test_awaiting_anything_else_is_a_clear_error(reactor, step, ends, awaitable):
    async def work() -> None:
        await awaitable()

    step(work())
    assert len(ends) == 1
    assert isinstance(ends[0], TypeError)
    assert "a stepped handler may await only its handle's waits" in str(ends[0])
    assert "@trio_task" in str(ends[0])


class _Alien:
    def __await__(self) -> Any:
        return (yield "something else")


def test_throwing_abandons_the_wait_and_raises_module_unloaded_there(reactor, step, ends):
    gate = Gate(reactor)
    left: list[str] = []

    async def work() -> None:
        try:
            await gate
        except Exception:
            left.append("no handler's business")
        finally:
            left.append("tidied")

    stepper = step(work())
    stepper.throw()
    assert gate.is_abandoned
    assert left == ["tidied"]
    assert [type(error) for error in ends] == [ModuleUnloaded]


def test_a_late_answer_to_an_abandoned_wait_changes_nothing(reactor, step, ends):
    first, second = Gate(reactor), Gate(reactor)
    log: list[Any] = []

    async def work() -> None:
        try:
            await first
        except ModuleUnloaded:
            log.append("thrown")
            raise
        log.append(await second)

    stepper = step(work())
    stepper.throw()
    first.open("late")
    assert log == ["thrown"]
    assert len(ends) == 1


def test_a_coroutine_that_runs_right_now_is_thrown_out_at_its_next_wait(reactor, step, ends):
    log: list[str] = []
    steppers: list[Stepper] = []
    gate = Gate(reactor)

    async def work() -> None:
        await gate
        steppers[0].throw()  # as an unload from its own handler does
        log.append("goes on")
        await Gate(reactor)
        log.append("never")

    steppers.append(step(work()))
    gate.open()
    assert log == ["goes on"]
    assert [type(error) for error in ends] == [ModuleUnloaded]


def test_waits_in_nested_finally_blocks_are_each_thrown_out(reactor, step, ends):
    log: list[str] = []

    async def work() -> None:
        try:
            await Gate(reactor)
        finally:
            try:
                await Gate(reactor)
            finally:
                log.append("inner")

    step(work()).throw()
    assert log == ["inner"]
    assert [type(error) for error in ends] == [ModuleUnloaded]


def test_a_coroutine_that_swallows_every_throw_is_left_alone_after_a_few(reactor, step, ends):
    throws: list[int] = []

    async def stubborn() -> None:
        while len(throws) < 1000:
            try:
                await Gate(reactor)
            except ModuleUnloaded:
                throws.append(1)

    step(stubborn()).throw()
    assert 1 <= len(throws) < 20
    assert ends == [None]


def test_the_stepping_mark_is_taken_back_so_that_trio_tasks_are_told_apart(reactor, step):
    marks: list[bool] = []

    async def inner() -> None:
        marks.append(reactor.stepping is not None)

    async def outer() -> None:
        step(inner())
        marks.append(reactor.stepping is not None)

    step(outer())
    assert marks == [True, True]
    assert reactor.stepping is None


def test_awaiting_outside_a_runner_says_what_is_missing(reactor):
    with pytest.raises(RuntimeError, match="not run by a trio task"):
        Gate(reactor).__await__().send(None)
