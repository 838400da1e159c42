"""Knows what becomes of a flood: lines offered on loopback, received by our statsd server, dropped by the kernel.

Doesn't know what the traps of a stream are (traps). Source: docs/experiments.md, J1. Sockets have no virtual time, so
the flood is in real time whatever clock the rest of a run has.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import trio

from brokersim.protocol.decoded import JsonObject
from brokersim.statsd.flushed import Flush
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import RECEIVE_BUFFER, ServeSettings

LINE = b"foo.bar:1|c"
KEY = "foo.bar"
#: Packets a bounded sender is ahead of the server at most: 100 kB of the kernel's memory, of which a stock Linux grants
#: twice as much.
AHEAD = 128
#: A buffer that a sender who waits for nobody overruns: room for some twenty packets.
SMALL_BUFFER = 1 << 14
#: Seconds until what was sent has been read or is lost, and until a bounded sender gives a silent server up.
PATIENCE = 10.0
#: How a sender goes about it, and the receive buffer it meets.
SENDERS = {"bounded": RECEIVE_BUFFER, "unbounded": SMALL_BUFFER}


@attrs.frozen(kw_only=True)
class Flood:
    """One flood. ``dropped`` is what the kernel says it threw away, None where it says nothing.

    ``shown`` is the sum of the counter over all flushes; ``graphite`` the names under which it is stored; ``rates``
    [(s, lines a second)] flush by flush.
    """

    dialect: str
    sender: str
    offered: int
    received: int
    dropped: int | None
    shown: float
    graphite: tuple[str, ...]
    buffer: int
    wall_s: float
    rates: tuple[tuple[float, float], ...]

    @property
    def is_accounted(self) -> bool:
        """What was sent was received or dropped, and the store shows what was received."""
        return self.offered == self.received + (self.dropped or 0) and self.shown == self.received

    def to_row(self) -> JsonObject:
        return {
            "dialect": self.dialect,
            "sender": self.sender,
            "offered": self.offered,
            "received": self.received,
            "dropped": self.dropped,
            "shown": self.shown,
            "buffer_bytes": self.buffer,
            "wall_s": self.wall_s,
            "lines_per_s": self.offered / self.wall_s if self.wall_s else 0.0,
            "graphite": ", ".join(self.graphite),
        }


def flood(dialect: str, sender: str, lines: int, flush: float) -> Flood:
    """Send ``lines`` packets of one line each to a server of its own. Raises OSError, ServeError."""
    return trio.run(_flood, dialect, sender, lines, flush)


async def _flood(dialect: str, sender: str, lines: int, flush: float) -> Flood:
    settings = ServeSettings(
        listen=("udp://127.0.0.1:0",), dialect=dialect, flush_s=flush, receive_buffer=SENDERS[sender],
        own_metrics=False, gather_s=0,
    )  # fmt: skip
    kept = _Kept()
    server = StatsdServer(settings, outputs=(kept,))
    failure: OSError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        assert server.udp_address is not None
        source = _Sender(server.udp_address, lines, _packets(server) if sender == "bounded" else None)
        start = time.perf_counter()
        try:
            await trio.to_thread.run_sync(source.send)
        except OSError as error:
            failure = error  # raised outside the nursery, which would wrap it in a group
        wall = time.perf_counter() - start
        await _settled(server, source.sent)
        server.stop()
    if failure is not None:
        raise failure
    found = server.statistics().sockets[0]
    return Flood(
        dialect=dialect,
        sender=sender,
        offered=source.sent,
        received=found.packets,
        dropped=found.kernel_drops,
        shown=sum(each.counters.get(KEY, 0) for each in kept.flushes),
        graphite=kept.names(),
        buffer=found.buffer,
        wall_s=wall,
        rates=kept.rates(),
    )


def _packets(server: StatsdServer) -> Callable[[], int]:
    """How many packets the server has read, asked from another thread."""

    def read() -> int:
        return server.statistics().sockets[0].packets

    return lambda: trio.from_thread.run_sync(read)


async def _settled(server: StatsdServer, sent: int) -> None:
    """Until everything sent is accounted for, or for as long as patience lasts."""
    with trio.move_on_after(PATIENCE):
        while True:
            found = server.statistics().sockets[0]
            if found.packets + (found.kernel_drops or 0) >= sent:
                return
            await trio.sleep(0.005)


class _Sender:
    """Sends from a thread. With ``received`` it is never more than AHEAD packets in front of the receiver."""

    def __init__(self, address: tuple[str, int], lines: int, received: Callable[[], int] | None) -> None:
        self._address = address
        self._lines = lines
        self._received = received
        self.sent = 0

    def send(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self._address)
            while self.sent < self._lines:
                share = min(AHEAD // 2, self._lines - self.sent)
                for _ in range(share):
                    sock.send(LINE)
                self.sent += share
                if self._received is not None:
                    self._wait(self._received)

    def _wait(self, received: Callable[[], int]) -> None:
        end = time.monotonic() + PATIENCE
        pause = threading.Event()  # never set: a wait that other threads run in
        while self.sent - received() > AHEAD // 2:
            if time.monotonic() > end:
                raise TimeoutError(f"the server has read nothing for {PATIENCE:g} s")
            pause.wait(0.0005)


class _Kept:
    """An output that keeps every flush."""

    name = "kept"
    target = "memory"

    def __init__(self) -> None:
        self.flushes: list[Flush] = []

    def offer(self, flush: Flush) -> None:
        self.flushes.append(flush)

    async def run(self) -> None:
        """Nothing is delivered."""

    def close(self) -> None:
        """Nothing is open."""

    def statistics(self) -> Any:
        from brokersim.statsd_server.health import OutputStatistics

        n = len(self.flushes)
        return OutputStatistics(
            name=self.name,
            target=self.target,
            state="connected",
            unit="flushes",
            queued=0,
            limit=0,
            sent=n,
            dropped=0,
        )

    def names(self) -> tuple[str, ...]:
        """Under which the counter is stored; collectd writes its dot as an underscore."""
        stems = (KEY, KEY.replace(".", "_"))
        found = {
            name for each in self.flushes for name, _ in each.graphite() if any(one in name for one in stems)
        }
        return tuple(sorted(found))

    def rates(self) -> tuple[tuple[float, float], ...]:
        if not self.flushes:
            return ()
        first = self.flushes[0].t - self.flushes[0].interval
        return tuple((each.t - first, each.counters.get(KEY, 0) / each.interval) for each in self.flushes)
