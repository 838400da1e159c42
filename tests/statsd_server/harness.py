"""Knows how tests talk to a statsd server on loopback; not what they check."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager

import trio
import trio.testing

from brokersim.statsd import Aggregator, Flush
from brokersim.statsd_server.health import OutputStatistics
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings

LONG = 3600.0


class Kept:
    """An output that keeps every flush."""

    name = "kept"
    target = "kept:"

    def __init__(self) -> None:
        self.flushes: list[Flush] = []
        self.is_closed = False

    @property
    def times(self) -> list[float]:
        return [flush.t for flush in self.flushes]

    def offer(self, flush: Flush) -> None:
        self.flushes.append(flush)

    async def run(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def statistics(self) -> OutputStatistics:
        return OutputStatistics(
            name=self.name, target=self.target, state="connected", unit="flushes",
            queued=0, limit=0, sent=len(self.flushes), dropped=0,
        )  # fmt: skip


@asynccontextmanager
async def serving(*outputs, wall=None, log=None, **settings):
    """A running server; it flushes only when told to, unless the settings say otherwise."""
    settings = {"listen": ("127.0.0.1:0",), "flush_s": LONG, "gather_s": 0, "grace_s": 1, **settings}
    server = StatsdServer(ServeSettings(**settings), outputs=outputs, wall=wall, log=log)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.run(task_status=task_status))
        yield server
        server.stop()


async def until(condition: Callable[[], object]) -> None:
    """Lets the server work until something is so; bounded by turns, since the clock may stand still."""
    for _ in range(200_000):
        if condition():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("this never came about")


async def settle() -> None:
    """Lets the server take in what is on its way; before a clock is moved by hand, everybody has to sleep."""
    await trio.testing.wait_all_tasks_blocked(0.01)


def sender_to(server: StatsdServer) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(server.udp_address)
    return made


async def tcp_to(address: str) -> trio.SocketStream:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return await trio.open_tcp_stream(host.strip("[]"), int(port))


def tcp_address(server: StatsdServer) -> str:
    return next(each for each in server.addresses if each.startswith("tcp://"))


def flush_of(t: float = 1.0, dialect: str = "strict", packets: Sequence[bytes] = ()) -> Flush:
    """The flush at `t` of an aggregator that was fed these packets."""
    aggregator = Aggregator(dialect)
    for packet in packets:
        aggregator.feed(packet)
    return aggregator.flush(t)
