"""Loops that spin in real time: whoever asks from outside is heard between few turns."""

from __future__ import annotations

import trio
import trio.testing

from brokersim.reactor.clock import RealClock
from brokersim.reactor.loop import TURNS, Reactor
from brokersim.reactor.run import Runner
from tests.reactor.probe import Probe


async def test_a_drain_while_a_loop_spins_is_short() -> None:
    reactor = Reactor()
    spinner, other = Probe(reactor, "spinner"), Probe(reactor, "other")
    spinner.hooks("idle")
    reactor.drain()
    assert len(spinner.log) == TURNS
    other.send("asked")
    reactor.drain()
    assert len(spinner.log) == 2 * TURNS
    assert other.log == ["asked"]


async def test_an_idle_watcher_that_a_task_starts_wakes_a_reactor_that_waits() -> None:
    reactor = Reactor()
    runner = Runner(reactor, RealClock())
    spinner = Probe(reactor, "spinner")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await trio.testing.wait_all_tasks_blocked()
            spinner.hooks("idle")
            while not spinner.log:
                await trio.lowlevel.checkpoint()
            runner.stop()


def test_an_answer_to_what_comes_in_between_is_not_kept_behind_a_batch_of_idle_turns() -> None:
    """A drain ends, and output is written, soon after what was queued when it began."""
    for first in ("spinner", "asked"):
        reactor = Reactor()
        spinner, asked = Probe(reactor, "spinner"), Probe(reactor, "asked")
        if first == "asked":
            asked.send("hello")
        spinner.hooks("idle")
        if first == "spinner":
            asked.send("hello")
        reactor.drain()
        assert asked.log == ["hello"]
        assert len(spinner.log) <= TURNS + 1, first
