"""Knows a statsd server that lives inside an instance and is fed without a socket; not what the server does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from brokersim.statsd.receivers import receiver_name
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings


class EmbeddedAggregator:
    """A sink whose packets are taken in at once; flushed on the clock that trio runs on, which is the instance's.

    ``wall`` is the time flushes are aligned to and stamped with; None, trio's own, is for simulated clocks: flushes
    are then at whole multiples of the interval from second 0. Raises ServeError for an output that cannot be opened.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        wall: Callable[[], float] | None = time.time,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.sent = 0
        self.refused = 0
        # The fast form where it is our own: many timings in a line, totals as they are.
        self.dialect = receiver_name(settings.dialect)
        self.server = StatsdServer(settings, wall=wall, log=log)
        self._feed = self.server.incoming.feed
        self._is_closed = False

    @property
    def target(self) -> str:
        """Where people find it: ``http://HOST:PORT``, or ``serve`` if it has no HTTP."""
        return f"http://{self.server.http_address}" if self.server.http_address else "serve"

    @target.setter
    def target(self, value: str) -> None:
        raise AttributeError("the server's address is the target")

    def send(self, packet: bytes) -> bool:
        """Takes a packet in; False once closed. Never waits, never raises."""
        if self._is_closed:
            self.refused += 1
            return False
        self._feed(packet, "instance")
        self.sent += 1
        return True

    def close(self) -> None:
        """Nothing is taken in any more; what was, is in the last flush."""
        self._is_closed = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EmbeddedAggregator]:
        """Serve for the duration of a block; what came in it is in the last flush. Raises ServeError."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(self.server.run)
                yield self
            except Exception as error:
                failure = error  # raised outside the nursery, which would wrap it in a group
            finally:
                self.close()
                self.server.stop()
        if failure is not None:
            raise failure
