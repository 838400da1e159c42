"""Calls for what can be read: in the clock's sleep, beside tasks that run, and from a task of their own."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from brokersim.net import readers as readers_file
from brokersim.net.readers import Readers
from brokersim.reactor.clock import RealClock, VirtualClock

_LIMIT_S = 60.0


class Turns(trio.abc.Instrument):
    """Counts how often trio looks at its own descriptors."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:

        def pair() -> tuple[socket.socket, socket.socket]:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.settimeout(_LIMIT_S)
            return stack.enter_context(ours), stack.enter_context(theirs)

        yield pair


def run(body: Callable[[Readers], Awaitable[None]], clock: trio.abc.Clock | None = None) -> None:
    """Run ``body`` beside readers, on a clock in whose place they can sleep."""

    async def main() -> None:
        readers = Readers()
        try:
            with trio.fail_after(math.inf if isinstance(clock, VirtualClock) else _LIMIT_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(readers.run)
                    await body(readers)
                    nursery.cancel_scope.cancel()
        finally:
            readers.close()

    trio.run(main, clock=RealClock() if clock is None else clock)


def echo(readers: Readers, ours: socket.socket) -> None:
    readers.add(ours.fileno(), lambda: ours.send(ours.recv(100)))


def ask(theirs: socket.socket, count: int) -> None:
    for _ in range(count):
        theirs.sendall(b"x")
        assert theirs.recv(100) == b"x"


def test_what_is_due_comes_though_there_is_always_more_to_read(pairs):
    """Timers of modules among it: what a flood brings is to be handled while it goes on."""
    calls = 0

    async def body(readers: Readers) -> None:
        ours, theirs = pairs()

        def leave() -> None:
            nonlocal calls
            calls += 1
            if calls == 200_000:
                readers.drop(ours.fileno())  # it would never end

        await trio.testing.wait_all_tasks_blocked()
        readers.add(ours.fileno(), leave)
        theirs.sendall(b"x")
        await trio.sleep(0.001)
        readers.drop(ours.fileno())

    run(body)
    assert 0 < calls < 200_000


def test_trio_makes_no_turn_for_what_is_read_while_it_sleeps(pairs):
    async def body(readers: Readers) -> None:
        ours, theirs = pairs()
        echo(readers, ours)
        await trio.testing.wait_all_tasks_blocked()
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        await trio.to_thread.run_sync(ask, theirs, 200)
        assert turns.count < 20

    run(body)


def test_a_task_that_never_rests_keeps_nobody_waiting(pairs):
    async def body(readers: Readers) -> None:
        ours, theirs = pairs()
        got: list[bytes] = []
        readers.add(ours.fileno(), lambda: got.append(ours.recv(100)))
        await trio.testing.wait_all_tasks_blocked()
        theirs.sendall(b"x")
        while not got:
            await trio.lowlevel.checkpoint()

    run(body)


@pytest.mark.parametrize("clock", [RealClock, VirtualClock, trio.testing.MockClock])
def test_a_task_that_a_call_wakes_runs(pairs, clock):
    async def body(readers: Readers) -> None:
        ours, theirs = pairs()
        said = trio.Event()
        readers.add(ours.fileno(), lambda: (ours.recv(100), said.set()))
        thread = threading.Timer(0.02, theirs.sendall, [b"x"])
        thread.start()
        await said.wait()
        thread.join()

    run(body, clock())


def test_a_deadline_that_a_call_brings_forward_is_kept(pairs):
    async def body(readers: Readers) -> None:
        ours, theirs = pairs()
        with trio.CancelScope() as scope:

            def call() -> None:
                ours.recv(100)
                scope.deadline = trio.current_time() + 0.001

            readers.add(ours.fileno(), call)
            thread = threading.Timer(0.02, theirs.sendall, [b"x"])
            thread.start()
            await trio.sleep_forever()
        assert scope.cancelled_caught
        thread.join()

    run(body)


def test_deadlines_and_waits_for_rest_are_trios_as_ever(pairs):
    async def body(readers: Readers) -> None:
        echo(readers, pairs()[0])
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        with trio.move_on_after(0.01):
            await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked(0.005)

    run(body)


def test_a_trio_with_another_inside_waits_in_a_task(pairs, monkeypatch):
    monkeypatch.setattr(readers_file, "_trio", lambda: None)

    async def body(readers: Readers) -> None:
        ours, theirs = pairs()
        echo(readers, ours)
        await trio.testing.wait_all_tasks_blocked()
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        await trio.to_thread.run_sync(ask, theirs, 50)
        assert turns.count >= 50

    run(body)


def test_two_share_a_clock_and_the_second_waits_in_a_task(pairs):
    async def body(first: Readers) -> None:
        second = Readers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.run)
            for readers in (first, second):
                ours, theirs = pairs()
                echo(readers, ours)
                await trio.to_thread.run_sync(ask, theirs, 5)
            nursery.cancel_scope.cancel()
        second.close()

    run(body)


def test_the_clock_sleeps_by_itself_again_when_nobody_reads():
    clock = RealClock()

    async def body(readers: Readers) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert clock.sleep is not None

    run(body, clock)
    assert clock.sleep is None


def test_who_was_dropped_is_not_called_and_many_all_are(pairs):
    async def body(readers: Readers) -> None:
        count = readers_file._MANY + 3
        made = [pairs() for _ in range(count)]
        for ours, _ in made:
            echo(readers, ours)
        silent, quiet = made.pop()
        readers.drop(silent.fileno())
        readers.drop(silent.fileno())  # harmless
        for _, theirs in made:
            theirs.sendall(b"x")
        quiet.sendall(b"x")
        for _, theirs in made:
            assert await trio.to_thread.run_sync(theirs.recv, 100) == b"x"
        quiet.setblocking(False)
        with pytest.raises(BlockingIOError):
            quiet.recv(100)

    run(body)
