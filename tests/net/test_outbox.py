"""Frames on their way out of one socket, with a reader that takes its time, and one that goes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from brokersim.net.outbox import Outbox
from brokersim.reactor.loop import Reactor

Pair = tuple[Outbox, socket.socket, Reactor, list[int], list[str]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    moved: list[int] = []
    broken: list[str] = []
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        reactor = Reactor()
        yield (
            Outbox(ours, reactor, moved.append, lambda: broken.append("gone")),
            theirs,
            reactor,
            moved,
            broken,
        )


def test_frames_leave_together_when_the_loop_flushes_and_not_before(pair: Pair) -> None:
    outbox, theirs, reactor, moved, _ = pair
    outbox.add(b"one ")
    outbox.add(b"two")
    assert (reactor.after_batch, len(outbox), outbox.size) == ([outbox.flush], 2, 7)
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    reactor.after_batch.pop()()
    assert (theirs.recv(100), moved, len(outbox), outbox.size) == (b"one two", [7], 0, 0)
    outbox.flush()
    assert moved == [7]  # nothing waits, nothing is tried


async def test_what_the_socket_does_not_take_goes_out_as_it_is_read_and_whoever_waits_for_room_goes_on(
    pair: Pair,
) -> None:
    outbox, theirs, _, moved, _ = pair
    data = bytes(range(256)) * 8192
    outbox.add(data)
    outbox.flush()
    assert outbox.size == len(data) - moved[0] > 1 << 16
    got = bytearray()
    had_room: list[int] = []

    async def wait(limit: int) -> None:
        await outbox.room(limit)
        had_room.append(outbox.size)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.write)
            nursery.start_soon(wait, 1 << 16)
            nursery.start_soon(wait, 0)
            while len(got) < len(data):
                await trio.lowlevel.wait_readable(theirs)
                got += theirs.recv(1 << 16)
            await outbox.room(0)
            outbox.close()
    assert bytes(got) == data
    assert sum(moved) == len(data)
    assert len(had_room) == 2 and had_room[0] <= 1 << 16


async def test_a_long_backlog_leaves_in_order_whatever_the_size_of_its_frames(pair: Pair) -> None:
    outbox, theirs, _, moved, _ = pair
    frames = [bytes([n % 251]) * (1 + n * 7919 % 4001) for n in range(2000)]
    frames.insert(1000, b"long" * (1 << 18))
    got = bytearray()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for frame in frames[:1500]:
                outbox.add(frame)
            nursery.start_soon(outbox.write)
            await trio.testing.wait_all_tasks_blocked()
            for frame in frames[1500:]:
                outbox.add(frame)
            assert outbox.size == sum(map(len, frames)) - sum(moved)
            while len(got) < sum(map(len, frames)):
                await trio.lowlevel.wait_readable(theirs)
                got += theirs.recv(1 << 16)
            assert (outbox.size, len(outbox), outbox.stalled()) == (0, 0, 0.0)
            outbox.close()
    assert bytes(got) == b"".join(frames)


async def test_a_reader_that_takes_nothing_is_told_from_one_that_takes_its_time(pair: Pair) -> None:
    outbox, theirs, _, _, _ = pair
    assert outbox.stalled() == 0.0
    outbox.add(b"x" * (1 << 22))
    outbox.flush()
    assert outbox.stalled() > 0.0
    assert not await outbox.room_before(1 << 16, patience=0.0)

    async def read() -> None:
        while outbox.size > 1 << 16:
            await trio.lowlevel.wait_readable(theirs)
            theirs.recv(1 << 16)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.write)
            nursery.start_soon(read)
            assert await outbox.room_before(1 << 16, patience=60.0)
            nursery.cancel_scope.cancel()  # nobody reads any more, so the writer would wait for ever


async def test_close_lets_go_of_all_who_wait_and_a_reader_that_went_is_told(pair: Pair) -> None:
    outbox, theirs, _, _, broken = pair
    outbox.add(b"x" * (1 << 22))
    outbox.flush()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.room, 0)
            await trio.testing.wait_all_tasks_blocked()
            theirs.close()
            outbox.flush()
            assert broken == ["gone"]
            outbox.close()
    assert (outbox.size, len(outbox)) == (0, 0)
    outbox.flush()
    assert broken == ["gone"]
