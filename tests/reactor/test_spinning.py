"""Loops that spin in real time: whoever asks from outside is heard between few turns."""

from __future__ import annotations

import trio
import trio.testing

from brokersim.reactor.clock import RealClock
from brokersim.reactor.loop import TURNS, Reactor
from brokersim.reactor.run import Runner
from tests.reactor.probe import Probe


async def test_a_drain_of_nothing_but_turns_is_short_and_one_with_a_message_is_not() -> None:
    reactor = Reactor()
    spinner, other = Probe(reactor, "spinner"), Probe(reactor, "other")
    spinner.hooks("idle")
    reactor.drain()
    assert len(spinner.log) == TURNS
    other.send("asked")
    reactor.drain()
    assert len(spinner.log) > 10 * TURNS
    assert other.log == ["asked"]


async def test_an_idle_watcher_that_a_task_starts_wakes_a_reactor_that_waits() -> None:
    reactor = Reactor()
    runner = Runner(reactor, RealClock())
    spinner = Probe(reactor, "spinner")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await trio.testing.wait_all_tasks_blocked()
            spinner.hooks("idle")
            while not spinner.log:
                await trio.lowlevel.checkpoint()
            runner.stop()
