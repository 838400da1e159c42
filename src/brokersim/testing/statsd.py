"""Knows a statsd server of a test's own for any program: read as a real one would read it. Not what should be sent.

It knows no broker and no trio, so it serves tests of whatever sends statsd lines, in this process or in another.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.flushed import BadLine, Flush
from brokersim.statsd_server.sockets import peer_text

#: Seconds of real time in which what a program sends has to come, unless told otherwise.
PATIENCE: Final = 5.0
#: One more than the longest packet any server looks at.
_READ: Final = 65_536
_BUFFER: Final = 4 << 20


class Statsd:
    """A statsd server on a free loopback port, or on a Unix socket, read in ``dialect`` and flushed when asked.

    ``dialect`` is etsy (statsd), brubeck, collectd, strict or dogstatsd. ``options`` are those of `AggregatorConfig`,
    such as ``percentiles=(99,)``; rates are per its ``flush``, 1 s, however long the test takes. Packets are taken off
    the socket as they come, in a thread, so none is lost. Raises UnknownDialectError, ConfigError, and OSError for
    a path that is taken. Close it, or use it in ``with``.
    """

    def __init__(self, dialect: str = "etsy", *, unix: Path | None = None, **options: Any) -> None:
        self._aggregator = Aggregator(dialect, AggregatorConfig(**options))
        self.dialect = self._aggregator.dialect.name
        #: Every packet that came, in order.
        self.packets: list[bytes] = []
        self._came = threading.Condition()
        kind = socket.AF_INET if unix is None else socket.AF_UNIX
        self._socket = socket.socket(kind, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind(("127.0.0.1", 0) if unix is None else str(unix))
        self._stop, self._stopped = socket.socketpair()
        self._path = unix
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # -- where it is

    @property
    def host(self) -> str:
        """For UDP 127.0.0.1; the path of a Unix socket."""
        return "127.0.0.1" if self._path is None else str(self._path)

    @property
    def port(self) -> int:
        """0 for a Unix socket."""
        return int(self._socket.getsockname()[1]) if self._path is None else 0

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, or ``unix://PATH``."""
        return f"{self.host}:{self.port}" if self._path is None else f"unix://{self._path}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables by which clients find their server: Etsy's, Datadog's and brokersim's."""
        if self._path is not None:
            return {"DD_DOGSTATSD_URL": self.address}
        port = str(self.port)
        return {
            "STATSD_HOST": self.host, "STATSD_PORT": port, "DD_AGENT_HOST": self.host, "DD_DOGSTATSD_PORT": port,
            "BROKERSIM_STATS": self.address,
        }  # fmt: skip

    # -- what came

    @property
    def lines(self) -> list[str]:
        """Every line that came, in order; bytes that are no text as ``\\xNN``."""
        with self._came:
            packets = list(self.packets)
        return [
            line.decode("utf-8", "backslashreplace") for each in packets for line in each.split(b"\n") if line
        ]

    @property
    def bad_lines(self) -> tuple[BadLine, ...]:
        """The last 256 lines the server could not read: ``reason``, ``line``, ``sender``."""
        with self._came:
            return self._aggregator.bad_lines()

    def value(self, name: str) -> Any:
        """What a key holds since the last flush: a sum, a value, the samples, how many elements; None if unknown.

        A name of several types gives what its first has.
        """
        with self._came:
            known = self._aggregator.lookup(name)
        return None if known is None else known.values[known.kinds[0]]

    def wait(self, until: Callable[[Self], object], seconds: float = PATIENCE) -> None:
        """Until ``until(self)`` is true, looked at after each packet. AssertionError with what came if it never is."""
        end = time.monotonic() + seconds
        while True:
            with self._came:
                seen = len(self.packets)
            if until(self):
                return
            with self._came:
                if not self._came.wait_for(lambda n=seen: len(self.packets) != n, end - time.monotonic()):  # type: ignore[misc]
                    break
        came = "\n  ".join(self.lines[-20:]) or "nothing"
        raise AssertionError(
            f"the {self.dialect} server waited {seconds:g} s; the last lines that came:\n  {came}"
        )

    def wait_for(self, name: str, seconds: float = PATIENCE) -> None:
        """Until something has come for a key that this server reads."""
        self.wait(lambda self: self.value(name) is not None, seconds)

    def flush(self) -> Flush:
        """What the real server would flush now, and the next interval begins.

        ``values`` has its own names (`counters.k.count`, `timers.t.upper_90`); ``counters``, ``gauges``, ``sets`` and
        ``samples`` are by the sender's; ``bad_lines`` is what it would say of itself.
        """
        with self._came:
            return self._aggregator.flush(time.time())

    # -- life

    def _read(self) -> None:
        ready = select.poll()
        for each in (self._socket, self._stopped):
            ready.register(each, select.POLLIN)
        while True:
            if any(fd == self._stopped.fileno() for fd, _ in ready.poll()):
                return
            packet, sender = self._socket.recvfrom(_READ)
            with self._came:
                self.packets.append(packet)
                self._aggregator.feed(packet, peer_text(sender), time.time())
                self._came.notify_all()

    def close(self) -> None:
        """The port is free again; what came can still be looked at."""
        if self._socket.fileno() < 0:
            return
        self._stop.send(b"x")
        self._reader.join()
        for each in (self._socket, self._stop, self._stopped):
            each.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
