"""Knows Graphite's plaintext protocol over TCP and how to outlive the server's absence; not how values are named."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
from collections.abc import Callable

import trio

from brokersim.statsd.creates import Unstored
from brokersim.statsd.flushed import Flush
from brokersim.statsd_server.health import OutputStatistics, Sent
from brokersim.statsd_server.outputs.line_texts import LineTexts
from brokersim.statsd_server.outputs.spool import Spool

#: Lines kept while the server is away: 10 MB, ten minutes of 166 values a second.
BUFFER_LINES = 100_000
#: Seconds that lines are kept after they were handed over; they are sent again if the connection then ends.
KEEP_S = 10.0
CONNECT_S = 5.0
#: A burst that carbon takes a flush or two to create is no matter.
FLUSHES_BEFORE_WARNING = 3
#: Pauses between two tries, in seconds: the first, and the longest it doubles up to.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
#: How long the kernel waits for a peer's acknowledgement before the connection counts as broken.
_USER_TIMEOUT_MS = 30_000
_ACK_POLL_S = 0.01


class Graphite:
    """Sends flushes to carbon, oldest first; reconnects for ever, with pauses of 0.1 s doubling up to 10 s.

    An outage that fits in ``buffer`` lines loses nothing. What was handed over in the last 10 s before a connection
    ended is sent again, since nobody knows what carbon did with it; if the connection was reset, which a kernel does
    when its program went without reading all it had, the last 6 MiB are. A value sent twice overwrites itself.
    """

    name = "graphite"

    def __init__(self, host: str, port: int, *, buffer: int = BUFFER_LINES, keep_s: float = KEEP_S) -> None:
        self.target = f"graphite://[{host}]:{port}" if ":" in host else f"graphite://{host}:{port}"
        self._host, self._port = host, port
        self._spool = Spool(limit=buffer, keep_s=keep_s)
        self._texts = LineTexts()
        self._wake = trio.Event()
        self._is_closed = False
        self._is_done = False
        self._was_reset = False
        self._state = "idle"
        self._retries = 0
        self._last_error: str | None = None
        self._failed_at: float | None = None
        self._last_sent: Sent | None = None
        #: Told once when many series cannot be stored yet, and why.
        self.warn: Callable[[str], None] = lambda line: None
        self._unstored = Unstored()
        self._waiting = 0
        self._flushes_waiting = 0

    def offer(self, flush: Flush) -> None:
        if not self._is_closed:
            self._spool.add(self._texts.block(flush))
            self._note_series(flush)
            self._wake.set()

    def _note_series(self, flush: Flush) -> None:
        self._waiting = self._unstored.note((flush.values, flush.self_values), flush.t)
        self._flushes_waiting = self._flushes_waiting + 1 if self._waiting else 0
        if self._flushes_waiting == FLUSHES_BEFORE_WARNING:
            self.warn(self._warning(len(flush.values) + len(flush.self_values)))

    def _warning(self, series: int) -> str:
        unstored = self._unstored
        return (
            f"output {self.name}: {self._waiting:,} of {series:,} series cannot be stored yet, the last in "
            f"{unstored.seconds_left:.0f} s, if carbon keeps the MAX_CREATES_PER_MINUTE = {unstored.per_minute:.0f} it "
            "ships: raise it there, or choose what comes first (--max-creates 50, --no-health; "
            "in --stats serve: creates=50, health=off)"
        )

    def close(self) -> None:
        self._is_closed = True
        self._wake.set()

    async def run(self) -> None:
        pause = FIRST_PAUSE_S
        try:
            while True:
                began = trio.current_time()
                await self._connect_and_deliver()
                if self._is_done or (self._is_closed and self._spool.is_empty):
                    return
                # One that accepts and hangs up at once is no better than one that refuses.
                if trio.current_time() - began > LONGEST_PAUSE_S:
                    pause = FIRST_PAUSE_S
                self._retries += 1
                self._state = "retrying"
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            self._spool.give_up()
            self._state = "closed"

    async def _connect_and_deliver(self) -> None:
        try:
            with trio.fail_after(CONNECT_S):
                stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            self._note_error(f"cannot connect: {_reason(error)}")
            return
        except trio.TooSlowError:
            self._note_error(f"cannot connect: no answer within {CONNECT_S:g} s")
            return
        self._state = "connected"
        self._was_reset = False
        async with stream:
            _set_user_timeout(stream)
            await self._deliver(stream)
        if not self._is_done:
            self._spool.restart(trio.current_time(), was_reset=self._was_reset)

    async def _deliver(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notice_end, stream, nursery.cancel_scope)
            try:
                await self._send(stream)
            except trio.BrokenResourceError as error:
                self._note_reset(error)
            nursery.cancel_scope.cancel()

    async def _notice_end(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """carbon says nothing; when it hangs up, the first send would still seem to work."""
        try:
            while await stream.receive_some(1024):
                pass
            self._note_error("connection lost: the server closed it")
        except trio.BrokenResourceError as error:
            self._note_reset(error)
        scope.cancel()

    def _note_reset(self, error: trio.BrokenResourceError) -> None:
        self._was_reset = True
        self._note_error(f"connection lost: {_reason(error)}")

    def _note_error(self, text: str) -> None:
        self._last_error = text
        self._failed_at = trio.current_time()

    async def _send(self, stream: trio.SocketStream) -> None:
        """Sends what there is until the end; returns when all is acknowledged and nothing more will come."""
        while True:
            self._spool.acknowledge(_unacknowledged(stream), trio.current_time())
            block = self._spool.hand_over(trio.current_time())
            if block is not None:
                began = trio.current_time()
                await stream.send_all(block.data)
                now = trio.current_time()
                self._last_sent = Sent(at=now, seconds=now - began, bytes=len(block.data))
            elif not self._is_closed:
                self._wake = trio.Event()
                await self._wake.wait()
            elif self._spool.is_empty:
                self._is_done = True
                return
            else:
                await trio.sleep(_ACK_POLL_S)

    def statistics(self) -> OutputStatistics:
        spool = self._spool
        return OutputStatistics(
            name=self.name,
            target=self.target,
            state=self._state,
            unit="lines",
            queued=spool.queued,
            limit=spool.limit,
            sent=spool.sent,
            dropped=spool.dropped,
            resent=spool.resent,
            in_doubt=spool.in_doubt,
            retries=self._retries,
            last_error=self._last_error,
            failed_at=self._failed_at,
            last_sent=self._last_sent,
            unstored=self._waiting,
        )


def _unacknowledged(stream: trio.SocketStream) -> int:
    """Bytes the kernel holds that the peer's kernel has not acknowledged (Linux' SIOCOUTQ)."""
    count = array.array("i", [0])
    fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def _set_user_timeout(stream: trio.SocketStream) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def _reason(error: BaseException) -> str:
    """The system's own words; trio wraps one error per address that was tried."""
    while not (isinstance(error, OSError) and error.strerror):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        if inner is None:
            return str(error)
        error = inner
    return error.strerror
