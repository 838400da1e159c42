"""The runner: jumps of virtual time, posts of trio tasks, real time that keeps up, ends that hang nobody."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from brokersim.protocol.errnums import EDEADLK, EHOSTUNREACH, RequestError
from brokersim.reactor import standstill
from brokersim.reactor.clock import RealClock, VirtualClock
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.run import Runner
from brokersim.reactor.step import Wait
from tests.reactor.probe import Probe


class Delay(Wait):
    """A delay by the reactor's clock, from a trio task."""

    def __init__(self, reactor: Reactor, seconds: float) -> None:
        super().__init__(reactor)
        self.seconds = seconds

    def begin(self, resume: Any) -> None:
        self.reactor.call_later(self.seconds, resume, None, None)


class Never(Wait):
    def begin(self, resume: Any) -> None:
        """Nothing will end it."""


@asynccontextmanager
async def running(clock: VirtualClock | RealClock) -> AsyncIterator[tuple[Reactor, Runner]]:
    reactor = Reactor()
    runner = Runner(reactor, clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        try:
            yield reactor, runner
        finally:
            runner.stop()


def virtual(main: Callable[[Reactor, Runner], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, VirtualClock)
        async with running(clock) as (reactor, runner):
            await main(reactor, runner)

    trio.run(whole, clock=VirtualClock())


# -- virtual time


def test_virtual_time_jumps_from_timer_to_timer_at_exact_times():
    times: list[int] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        def tick() -> None:
            times.append(reactor.now)
            reactor.call_later(0.1, tick)

        reactor.call_later(0.1, tick)
        await Delay(reactor, 1000.05)

    virtual(main)
    assert times == [number * NS // 10 for number in range(1, 10001)]


def test_trio_deadlines_and_reactor_timers_share_one_time_line():
    log: list[tuple[float, str]] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        async def sleeper() -> None:
            for _ in range(3):
                await trio.sleep(1.0)
                log.append((trio.current_time(), "trio"))

        for number in range(6):
            reactor.call_later(0.5 + number * 0.5, lambda: log.append((reactor.now / NS, "reactor")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
        await Delay(reactor, 1.0)

    virtual(main)
    assert [entry for entry in log if entry[1] == "reactor"] == [
        (0.5 + number * 0.5, "reactor") for number in range(6)
    ]
    assert [entry for entry in log if entry[1] == "trio"] == [(1.0, "trio"), (2.0, "trio"), (3.0, "trio")]
    assert [time for time, _ in log] == sorted(time for time, _ in log)


def test_time_does_not_jump_past_a_task_that_a_callback_made_runnable():
    seen: list[float] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        event = trio.Event()
        for number in range(5000):  # more to jump to than one burst
            reactor.call_later(0.001 * number, lambda: None)
        await Delay(reactor, 0.5)
        reactor.call_later(0.25, event.set)
        await event.wait()
        seen.append(trio.current_time())

    virtual(main)
    assert seen == [0.75]


def test_time_does_not_jump_past_a_task_whose_scope_a_callback_cancelled():
    seen: list[float] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        for number in range(100):
            reactor.call_later(0.1 * number, lambda: None)
        with trio.CancelScope() as scope:
            reactor.call_later(2.0, scope.cancel)
            await trio.sleep_forever()
        seen.append(trio.current_time())

    virtual(main)
    assert seen == [2.0]


def test_a_task_that_is_resumed_finds_the_instant_complete():
    async def main(reactor: Reactor, runner: Runner) -> None:
        actor = Probe(reactor)

        def burst() -> None:
            for number in range(1000):  # several batches of the drain
                actor.send(f"m{number}")

        for second in range(1, 11):
            event = trio.Event()
            if second % 2:  # the instant is reached in a row of jumps; else in one, after the clock was asked
                for tenth in range(1, 10):
                    reactor.call_later(tenth / 10, lambda: None)
            reactor.call_later(1.0, event.set)
            reactor.call_later(1.0, burst)
            for number in range(5):
                reactor.call_later(1.0, actor.log.append, number, actor=actor if number % 2 else None)
            await event.wait()
            assert trio.current_time() == second
            assert len(actor.log) == second * 1005

    for _ in range(5):  # trio would run the task or the loop first, at random
        virtual(main)


def test_time_stands_still_while_it_is_held():
    seen: list[float] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        reactor.call_later(1.0, lambda: seen.append(reactor.now / NS))
        with runner.hold():
            # A thread is real work outside; however long it takes, no virtual time passes.
            await trio.to_thread.run_sync(lambda: sum(range(1000)))
            assert reactor.now == 0
            assert seen == []
        await Delay(reactor, 2.0)

    virtual(main)
    assert seen == [1.0]


def test_waiting_for_what_can_never_happen_is_an_error_and_no_hang():
    async def main(reactor: Reactor, runner: Runner) -> None:
        with pytest.raises(RequestError, match="wait for ever") as caught:
            await Never(reactor)
        assert caught.value.errno == EDEADLK

    virtual(main)


def test_where_nobody_waits_or_clients_may_still_ask_trio_sleeps_and_nobody_is_told_that_it_is_for_ever():
    async def main(reactor: Reactor, runner: Runner) -> None:
        quiescent = runner.clock.quiescent
        await trio.testing.wait_all_tasks_blocked()
        assert quiescent(math.inf) == math.inf
        runner.may_jump = lambda: True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.wait_in_task, Never(reactor))
            await trio.testing.wait_all_tasks_blocked()
            with runner.hold():
                await trio.to_thread.run_sync(int)  # the post is admitted meanwhile
            await trio.testing.wait_all_tasks_blocked()
            assert quiescent(math.inf) == math.inf
            nursery.cancel_scope.cancel()

    virtual(main)


def test_time_waits_until_outside_clients_have_come_to_rest_and_looks_soon_at_first_then_seldom():
    async def main(reactor: Reactor, runner: Runner) -> None:
        quiescent = runner.clock.quiescent
        runner.may_jump, runner.is_settled = lambda: True, lambda: False
        fired: list[int] = []
        reactor.call_later(1.0, lambda: fired.append(reactor.now))
        await trio.testing.wait_all_tasks_blocked()
        looks = [quiescent(math.inf) for _ in range(8)]
        assert looks[0] < 0.001
        assert looks == sorted(looks)
        assert looks[-1] == looks[-2] == 0.01
        assert (reactor.now, fired) == (0, [])
        runner.is_settled = lambda: True
        await trio.sleep(2.0)
        assert fired == [NS]
        await trio.testing.wait_all_tasks_blocked()
        runner.is_settled = lambda: False
        assert quiescent(math.inf) < 0.001

    virtual(main)


def test_a_row_of_timers_between_two_deadlines_asks_the_clock_a_few_times_and_not_once_each(monkeypatch):
    asked: list[float] = []
    ask = VirtualClock.deadline_to_sleep_time
    monkeypatch.setattr(
        VirtualClock, "deadline_to_sleep_time", lambda clock, when: (asked.append(when), ask(clock, when))[1]
    )

    async def main(reactor: Reactor, runner: Runner) -> None:
        for number in range(500):
            reactor.call_later(number * 0.001, lambda: None)
        await trio.sleep(1.0)

    virtual(main)
    assert len(asked) < 10


def test_timers_that_are_set_at_the_instant_at_which_they_are_due_end_their_actor(monkeypatch):
    monkeypatch.setattr(standstill, "TIMER_LIVELOCK", 50)
    calls: list[int] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        actor = Probe(reactor)

        def again() -> None:
            calls.append(reactor.now)
            if not actor.errors:
                reactor.call_later(0.0, again, actor=actor)

        reactor.call_later(1.0, again, actor=actor)
        await trio.sleep(2.0)
        assert actor.errors == ["Livelock at -"]

    virtual(main)
    assert set(calls) == {NS}


def test_as_many_timers_at_different_instants_end_nobody(monkeypatch):
    monkeypatch.setattr(standstill, "TIMER_LIVELOCK", 51)  # reached while one is still due

    async def main(reactor: Reactor, runner: Runner) -> None:
        pair = Probe(reactor, "a"), Probe(reactor, "b")
        for _ in range(100):
            for actor in pair:
                actor.after(0.5, "tick")
            await trio.sleep(1.0)  # a deadline behind each: no row of jumps
        assert [(len(actor.log), actor.errors) for actor in pair] == [(100, [])] * 2

    virtual(main)


def test_a_wait_that_cannot_begin_raises_in_the_task():
    class Broken(Wait):
        def begin(self, resume: Any) -> None:
            raise RequestError(EHOSTUNREACH, "no way")

    async def main(reactor: Reactor, runner: Runner) -> None:
        with pytest.raises(RequestError, match="no way"):
            await Broken(reactor)

    virtual(main)


def test_a_cancelled_wait_is_abandoned_and_its_late_end_wakes_nobody():
    events: list[str] = []

    class Slow(Wait):
        def begin(self, resume: Any) -> None:
            self.reactor.call_later(5.0, resume, "late", None)

        def abandon(self) -> None:
            events.append("abandoned")

    async def main(reactor: Reactor, runner: Runner) -> None:
        with trio.move_on_after(1.0) as scope:
            await Slow(reactor)
        assert scope.cancelled_caught
        assert trio.current_time() == 1.0
        await trio.sleep(10.0)  # the late end falls into another wait of the same task
        assert trio.current_time() == 11.0

    virtual(main)
    assert events == ["abandoned"]


def test_posts_of_sibling_tasks_are_admitted_in_the_order_the_tasks_were_spawned():
    def one_run() -> list[str]:
        log: list[str] = []

        async def main(reactor: Reactor, runner: Runner) -> None:
            actor = Probe(reactor, log=log)

            async def task(name: str) -> None:
                for turn in range(3):
                    actor.send(f"{name}{turn}")  # from a trio task: a post
                    await trio.sleep(1.0)

            async with trio.open_nursery() as nursery:
                for name in "abcdefgh":
                    nursery.start_soon(task, name)

        virtual(main)
        return log

    expected = [f"{name}{turn}" for turn in range(3) for name in "abcdefgh"]
    for _ in range(10):  # trio reverses a batch at random: ten runs would all agree once in 2^20
        assert one_run() == expected


def test_timers_set_by_sibling_tasks_for_one_instant_fire_in_the_order_of_the_tasks():
    log: list[str] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        async def task(name: str) -> None:
            await trio.sleep(1.0)
            reactor.call_later(1.0, log.append, name)

        async with trio.open_nursery() as nursery:
            for name in "abcdefgh":
                nursery.start_soon(task, name)
        await trio.sleep(5.0)

    for _ in range(5):
        log.clear()
        virtual(main)
        assert log == list("abcdefgh")


def test_a_timer_set_by_a_task_counts_from_the_tasks_time_and_can_be_cancelled_at_once():
    log: list[float] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        await trio.sleep(3.0)
        reactor.call_later(1.0, lambda: log.append(reactor.now / NS))
        reactor.call_later(0.5, lambda: log.append(-1.0)).cancel()
        await trio.sleep(2.0)

    virtual(main)
    assert log == [4.0]


def test_the_runner_forgets_the_tasks_that_ended():
    async def main(reactor: Reactor, runner: Runner) -> None:
        async def task() -> None:
            await Delay(reactor, 0.1)

        for _ in range(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
        assert len(runner.posts._numbers) < 5

    virtual(main)


# -- the end


def test_waits_left_over_when_the_runner_ends_are_answered():
    async def main() -> None:
        reactor = Reactor()
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, VirtualClock)
        runner = Runner(reactor, clock)
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            reactor.call_later(1.0, runner.stop)
            with pytest.raises(RequestError, match="the instance has ended") as caught:
                await Delay(reactor, 5.0)
            assert caught.value.errno == EHOSTUNREACH
        with pytest.raises(RequestError, match="the instance has ended"):
            await Delay(reactor, 5.0)
        assert clock.quiescent == clock.jump  # the clock is given back

    trio.run(main, clock=VirtualClock())


# -- real time, on a machine clock that the test sets: nothing waits


class HandClock(RealClock):
    """Real for the runner, moved by hand: trio is told to sleep not at all, and time stands until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0

    def now_ns(self) -> int:
        return self.now

    def current_time(self) -> float:
        return self.now / NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.now = max(self.now, int(min(deadline, 1e9) * NS) + 1)
        return 0.0


def real(main: Callable[[Reactor, Runner], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, HandClock)
        async with running(clock) as (reactor, runner):
            await main(reactor, runner)

    trio.run(whole, clock=HandClock())


def test_in_real_time_timers_and_posts_get_their_turn_while_a_loop_spins():
    turns: list[int] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        clock = runner.clock
        assert isinstance(clock, HandClock)
        actor = Probe(reactor)

        def spin() -> None:
            turns.append(1)
            clock.now += 1_000_000  # each turn takes a millisecond
            actor.log.clear()

        watcher = []
        runner.post(lambda: watcher.append(actor.hook("idle", "idle", spin)))
        with trio.fail_after(60.0):
            await Delay(reactor, 2.0)  # a post, then a timer
        runner.post(watcher[0].stop)
        await Delay(reactor, 0.0)

    real(main)
    assert 1000 <= len(turns) <= 4000


def test_in_real_time_a_task_reads_a_fresh_clock_and_not_the_loops_last_turn():
    async def main(reactor: Reactor, runner: Runner) -> None:
        clock = runner.clock
        assert isinstance(clock, HandClock)
        await Delay(reactor, 1.0)
        clock.now += 10 * NS  # the loop is parked meanwhile
        assert reactor.call_later(1.0, lambda: None).when == clock.now + NS

    real(main)


def test_in_real_time_late_timers_of_one_actor_are_one_iteration():
    async def main(reactor: Reactor, runner: Runner) -> None:
        clock = runner.clock
        assert isinstance(clock, HandClock)
        actor = Probe(reactor)

        def set_timers() -> None:
            for number in range(5):
                actor.after(1.0 + number, f"timer {number}")
            clock.now += 20 * NS

        runner.post(set_timers)
        await Delay(reactor, 30.0)
        assert actor.log == [f"timer {number}" for number in range(5)]
        assert actor.iterations == 1

    real(main)


@pytest.mark.parametrize("others", [(), (100.0,)])
def test_in_real_time_a_timer_that_is_set_inside_while_the_loop_is_parked_fires_when_it_is_due(others):
    async def main(reactor: Reactor, runner: Runner) -> None:
        fired: list[int] = []
        for seconds in others:
            reactor.call_later(seconds, lambda: None)
        await Delay(reactor, 0.0)
        for _ in range(5):
            await trio.lowlevel.checkpoint()  # time stands still meanwhile
        with runner.inside():
            reactor.call_later(1.0, lambda: fired.append(reactor.now))
        await trio.sleep(50.0)
        assert len(fired) == 1
        assert fired[0] < 2 * NS

    real(main)


def test_in_real_time_a_cancelled_wait_is_abandoned_at_once():
    class Slow(Never):
        def abandon(self) -> None:
            abandoned.append(self.reactor.now)

    abandoned: list[int] = []

    async def main(reactor: Reactor, runner: Runner) -> None:
        with trio.move_on_after(1.0):
            await Slow(reactor)
        await trio.sleep(50.0)
        assert len(abandoned) == 1
        assert abandoned[0] < 2 * NS

    real(main)
