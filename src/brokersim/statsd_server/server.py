"""Knows how a statsd server runs: sockets into an aggregator, flushes out of it on time, outputs that may lag.

Doesn't know what lines mean, nor how any output delivers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import attrs
import trio

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.batch import Batch
from brokersim.statsd.cardinality import Cardinality
from brokersim.statsd.flushed import BadLine, Flush
from brokersim.statsd_server.flush_clock import FlushGrid, TimeAxis, lead_of
from brokersim.statsd_server.flush_gauge import FlushGauge
from brokersim.statsd_server.health import (
    FlushStatistics,
    ServerStatistics,
    with_own_values,
)
from brokersim.statsd_server.http import HttpServer
from brokersim.statsd_server.incoming import Incoming
from brokersim.statsd_server.management import Management
from brokersim.statsd_server.outputs import Output
from brokersim.statsd_server.outputs.all import Outputs, open_outputs, stores
from brokersim.statsd_server.outputs.keeping import Keeping
from brokersim.statsd_server.outputs.openmetrics import OpenMetricsPage
from brokersim.statsd_server.pages import StatsdPages
from brokersim.statsd_server.ports import Running
from brokersim.statsd_server.settings import (
    ServeSettings,
    parse_host_port,
    parse_listen,
)
from brokersim.statsd_server.sockets import DatagramSocket, address_text, bind, listen_tcp
from brokersim.statsd_server.streams import LineStreams
from brokersim.statsd_server.wiretap import Wiretap

#: Share of an interval for what waits right before its flush: turns of nothing but new names take fifty times as long
#: as others.
_DRAIN_BEFORE_FLUSH = 0.25
#: Lines told of faults of ours: whoever finds one can send it at any rate.
_MAX_FAULTS = 100
#: Seconds between two counts of who makes the series.
CARDINALITY_S = 5.0


class StatsdServer(Running):
    """A statsd server: `run` binds, receives and flushes until `stop` or cancellation, and then flushes once more.

    ``outputs`` are added to those of the settings. ``wall`` is the clock that flushes are aligned to and stamped
    with, in Unix seconds; None takes trio's own clock, which simulated clocks need. ``log`` gets a line for what
    an operator should see.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        outputs: Sequence[Output] = (),
        wall: Callable[[], float] | None = time.time,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.aggregator = Aggregator(settings.dialect, settings.config)
        self.wiretap = Wiretap()
        # Nobody scrapes without a page.
        self.openmetrics = OpenMetricsPage(
            settings.aggregator.prefix_stats, histograms=settings.http is not None
        )
        self.last_flush: Flush | None = None
        self.is_up = True
        self.addresses: tuple[str, ...] = ()
        self.udp_address: tuple[str, int] | None = None
        self.http_address: str | None = None
        self.management_address: str | None = None
        self._wall = wall
        self._log = log or (lambda line: None)
        self._axis: TimeAxis | None = None
        self._grid = FlushGrid(settings.flush_s, lead_of(settings.flush_s) if settings.is_aligned else 0.0)
        self._gauge = FlushGauge()
        self.incoming = Incoming(self.aggregator, self.wiretap, self._gauge, self.now, self.note_fault)
        self._streams = LineStreams(
            self.incoming.feed_lines,
            self.now,
            limit=settings.tcp_clients,
            stall_s=settings.tcp_stall_s,
            kept=settings.aggregator.bad_ring,
            on_error=self.note_fault,
        )
        self._stopping = trio.Event()
        self._faults = 0
        self._keeping = Keeping(self.aggregator)
        self._is_ending = False
        self._cardinality: tuple[float, int, Cardinality | None] = (0.0, 0, None)
        self._given_outputs = tuple(outputs)
        self._outputs = Outputs(outputs, self._log)
        self.incoming.copies = self._outputs.copies
        self._http = HttpServer(StatsdPages(self).routes(), self._log, settings.allow_hosts)

    def feed(self, datagram: bytes, sender: str | None = None) -> None:
        """Takes in a packet from within the process."""
        self.incoming.feed(datagram, sender)

    def take(self, batch: Batch, sender: str | None = None) -> None:
        """Takes in a client's tables, without the way over text unless somebody watches lines."""
        self.incoming.take(batch, sender)

    # Time

    def now(self) -> float:
        """Server time in seconds: Unix time, or trio's own clock. Before the server runs, 0."""
        return 0.0 if self._axis is None else self._axis.now()

    def flush_now(self) -> Flush:
        """Ends the interval now, beside the regular ones."""
        return self._flush(self.now())

    def _flush(self, t: float) -> Flush:
        self.incoming.drain(trio.current_time() + self.settings.flush_s * _DRAIN_BEFORE_FLUSH)
        began = trio.current_time()
        lag = max(0.0, self.now() - t)
        flush = self.aggregator.flush(t)
        self._gauge.note_flush(self.statistics(), began, lag)
        flush = self._with_health(flush, t)
        self.last_flush = flush
        self._keeping.hold(flush.t, is_last=self._is_ending)
        self.openmetrics.offer(flush)
        self._outputs.offer(flush)
        self.wiretap.flush(flush)
        self._gauge.duration = trio.current_time() - began
        return flush

    def _with_health(self, flush: Flush, t: float) -> Flush:
        """The flush with the server's own series, or with none at all."""
        if not self.settings.own_metrics:
            return attrs.evolve(flush, self_values={})
        full = with_own_values(flush, self.statistics(), self.settings.aggregator.prefix_stats)
        return attrs.evolve(full, self_values=self.aggregator.admitted(full.self_values, t))

    def _flush_whatever_comes(self) -> None:
        """The interval on the grid; a fault in what is shown of it must end no server."""
        try:
            self._flush(self._grid.instant)
        except Exception as error:
            self.note_fault(f"statsd: an interval is shown in part, by a fault of ours: {error!r}")

    async def _flush_on_time(self) -> None:
        axis = self._axis
        assert axis is not None
        while True:
            await trio.sleep_until(axis.steady_at(self._grid.instant))
            self._flush_whatever_comes()
            axis.follow()
            self._grid.advance(axis.now())

    # Life

    def stop(self) -> None:
        """`run` returns once the last flush is delivered, or the grace is over."""
        self._stopping.set()

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serves, once. ``task_status`` gets the server when every socket is bound.

        Raises ServeError for an address or an output that cannot be opened.
        """
        self._axis = TimeAxis(trio.current_time, self._wall)
        self._gauge.started = trio.current_time()
        self._grid.start(self._axis.now())
        with ExitStack() as closing:
            services = self._bind(closing)
            self._open_outputs()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._outputs.run)
                try:
                    async with trio.open_nursery() as receiving:
                        for service, argument in services:
                            receiving.start_soon(service, argument)
                        receiving.start_soon(self._flush_on_time)
                        task_status.started(self)
                        await self._stopping.wait()
                        receiving.cancel_scope.cancel()
                finally:
                    self._is_ending = True
                    # Stamped as if its interval were over: at this moment it could overwrite the one before.
                    self._flush_whatever_comes()
                    closing.close()
                    self.wiretap.close()
                    self._outputs.close(self.settings.grace_s)

    def _open_outputs(self) -> None:
        opened = open_outputs(self.settings, self.addresses, inline=self._wall is None, log=self._log)
        self._keeping = Keeping(self.aggregator, opened if self.settings.goes_on else ())
        self._keeping.take_up(self._log)
        self._outputs = Outputs([*self._given_outputs, *stores(self.settings, opened)], self._log)
        self.incoming.copies = self._outputs.copies

    def _bind(self, closing: ExitStack) -> list[tuple[Callable[[Any], Awaitable[None]], Any]]:
        """Every socket there is to be, and who serves it."""
        services: list[tuple[Callable[[Any], Awaitable[None]], Any]] = []
        receive = partial(self.incoming.receive, gather_s=self.settings.gather_s)
        addresses: list[str] = []
        for text in self.settings.listen:
            for kind, sock in bind(parse_listen(text)):
                addresses.append(address_text(kind, sock))
                if kind == "tcp":
                    closing.callback(sock.close)
                    services.append((self._streams.serve, sock))
                    continue
                received = DatagramSocket(kind, sock, self.settings.receive_buffer)
                closing.callback(received.close)
                self.incoming.sockets.append(received)
                services.append((receive, received))
                if kind == "udp" and self.udp_address is None:
                    self.udp_address = sock.getsockname()[:2]
        self.addresses = tuple(addresses)
        self.http_address = _bind_tcp("http", self.settings.http, self._http.serve, closing, services)
        self.management_address = _bind_tcp(
            "management", self.settings.management, Management(self).serve, closing, services
        )
        return services

    def note_fault(self, line: str) -> None:
        """A fault that is nobody's to mend but ours, or a lack of descriptors: told, 100 times at most."""
        self._faults += 1
        if self._faults <= _MAX_FAULTS:
            self._log(line)

    # Health

    def bad_lines(self) -> tuple[BadLine, ...]:
        """The last bad lines: those of packets, then those that streams left unfinished."""
        return self.aggregator.bad_lines() + self._streams.bad_lines()

    def cardinality(self) -> Cardinality:
        """Who makes the series, as of some seconds ago: a page that is looked at must not cost a flush."""
        keys, now = sum(self.aggregator.statistics().keys.values()), trio.current_time()
        counted_at, counted_keys, found = self._cardinality
        if found is None or (keys != counted_keys and now - counted_at >= CARDINALITY_S):
            found = self.aggregator.cardinality()
            self._cardinality = (now, keys, found)
        return found

    def statistics(self) -> ServerStatistics:
        health = self.aggregator.statistics()
        sockets = tuple(sock.statistics() for sock in self.incoming.sockets)
        by_reason = Counter(health.bad_by_reason) + self._streams.bad_by_reason
        gauge = self._gauge
        return ServerStatistics(
            uptime_s=0.0 if gauge.started is None else trio.current_time() - gauge.started,
            health=health,
            sockets=sockets,
            tcp=self._streams.statistics(),
            bad_lines=by_reason.total(),
            bad_by_reason=dict(by_reason),
            kernel_drops=sum(each.kernel_drops or 0 for each in sockets),
            ceiling=gauge.ceiling(health),
            flush=FlushStatistics(
                count=health.flushes,
                lag_s=gauge.lag,
                worst_lag_s=gauge.worst_lag,
                duration_s=gauge.duration,
                skipped=self._grid.skipped,
            ),
            outputs=self._outputs.statistics(),
            taps=len(self.wiretap),
            taps_dropped=self.wiretap.dropped,
            http_errors=self._http.errors,
            metrics_per_s=gauge.metrics_per_s,
            bad_lines_per_s=gauge.bad_lines_per_s,
        )


async def serve(
    settings: ServeSettings,
    *,
    outputs: Sequence[Output] = (),
    wall: Callable[[], float] | None = time.time,
    log: Callable[[str], None] | None = None,
    task_status: object = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs a StatsdServer, which ``task_status`` gets, until cancelled. Raises ServeError."""
    await StatsdServer(settings, outputs=outputs, wall=wall, log=log).run(task_status=task_status)


def _bind_tcp(
    what: str,
    address: str | None,
    serve: Callable[[Any], Awaitable[None]],
    closing: ExitStack,
    services: Any,
) -> str | None:
    if address is None:
        return None
    sockets = listen_tcp(*parse_host_port(address, what), what)
    for sock in sockets:
        closing.callback(sock.close)
        services.append((serve, sock))
    return address_text("tcp", sockets[0]).removeprefix("tcp://")
