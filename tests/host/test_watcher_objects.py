"""Timers as Flux's watchers have them, on a bare reactor: when they call, when they do not, what is no time."""

from __future__ import annotations

from typing import Any, cast

import pytest

from brokersim.host.watcher_objects import HookWatcher, TimerWatcher
from brokersim.reactor.loop import NS, Reactor
from tests.reactor.probe import Probe, run_until


class Handle(Probe):
    workers: Any = None

    def enter(self, callback: Any, *args: Any) -> None:
        callback(*args)

    def module_loop(self) -> Any:
        return self.own_loop


def timer(after: float, repeat: float = 0.0, again: float = 0.0) -> tuple[TimerWatcher, list[float]]:
    handle = Handle(Reactor())
    calls: list[float] = []

    def call(given: object, watcher: object, revents: int, args: object) -> None:
        assert (given, watcher, revents, args) == (handle, made, 0, "args")
        calls.append(handle.reactor.now / NS)

    made = TimerWatcher(cast(Any, handle), after, call, repeat, "args")
    return made, calls


def passed(watcher: TimerWatcher, until: float) -> None:
    run_until(watcher.handle.reactor, until)


@pytest.mark.parametrize(
    ("after", "repeat", "calls"),
    [(0.0, 0.0, [0.0]), (2.0, 0.0, [2.0]), (0.0, 3.0, [0.0, 3.0, 6.0]), (1.0, 3.0, [1.0, 4.0])],
)
def test_a_timer_calls_after_its_time_and_then_every_other(after, repeat, calls):
    watcher, called = timer(after, repeat)
    watcher.start().start()
    passed(watcher, 6.5)
    assert called == calls


@pytest.mark.parametrize(("after", "repeat"), [(-1.0, 0.0), (0.0, -1.0)])
def test_a_time_below_0_is_refused(after, repeat):
    with pytest.raises(ValueError, match=f"times of 0 s or more, not after={after}, repeat={repeat}"):
        timer(after, repeat)


def test_one_that_is_stopped_does_not_call_and_may_be_started_again():
    watcher, called = timer(2.0)
    watcher.stop()
    with watcher:
        passed(watcher, 1.0)
    passed(watcher, 5.0)
    assert called == []
    watcher.start()
    passed(watcher, 9.0)
    assert called == [7.0]
    watcher.destroy()


def test_new_times_are_as_if_it_was_made_with_them_and_start_only_one_that_runs():
    watcher, called = timer(2.0, 5.0)
    watcher.reset(1.0)
    passed(watcher, 3.0)
    assert called == []
    watcher.start()
    watcher.reset(2.0, 2.0)
    passed(watcher, 8.0)
    assert called == [5.0, 7.0]


@pytest.mark.parametrize("workers", [None, "stacks"])
def test_a_hook_calls_while_it_is_started_and_without_a_callback_is_there_for_nothing(workers):
    handle = Handle(Reactor())
    handle.hooks("prepare")
    handle.workers = workers
    calls: list[Any] = []
    hook = HookWatcher(cast(Any, handle), "check", lambda *given: calls.append(given), "args")
    idle = HookWatcher(cast(Any, handle), "prepare", None, "args")
    hook.stop()
    hook.start().start()
    idle.start()
    handle.send("message")
    run_until(handle.reactor, 1.0)
    assert calls == [(handle, hook, 0, "args")]
    hook.stop()
    handle.send("message")
    run_until(handle.reactor, 2.0)
    assert len(calls) == 1
