"""Knows what arrives at a statsd port: when each counter packet came and how many lines it had."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.loop import NS, Reactor

#: Width of the window in which the peak rate is looked for, in seconds.
WINDOW = 0.25
_WINDOW_NS = round(WINDOW * NS)
_LINES = len(COUNTER_NAMES)
#: No metric: what `Listener.settle` sends itself, and how long it may take on a busy machine.
_MARK, _PATIENCE = b"\0", 10.0
_FIRST = f".{COUNTER_NAMES[0]}".encode()


def peak_rate(packets: Iterable[tuple[float, int]], window: float = WINDOW) -> float:
    """Highest number of lines per second over windows of ``window`` seconds, given (time in s, lines)."""
    return max(_by_window(packets, window).values(), default=0) / window


def rates(packets: Iterable[tuple[float, int]], end: float) -> list[tuple[float, float]]:
    """[(s, lines a second)] over the whole windows of ``WINDOW`` seconds up to ``end``, given (time in s, lines)."""
    lines = _by_window(packets, WINDOW)
    return [(at * WINDOW, lines[at] / WINDOW) for at in range(int(end / WINDOW))]


def _by_window(packets: Iterable[tuple[float, int]], window: float) -> Counter[int]:
    lines: Counter[int] = Counter()
    for t, count in packets:
        lines[int(t / window)] += count
    return lines


def is_counters(packet: bytes) -> bool:
    """The packet is a module's eight message counters, not another metric."""
    return packet.partition(b":")[0].endswith(_FIRST)


def is_kvs(packet: bytes) -> bool:
    """The packet is the kvs module's, on whatever rank."""
    return packet.startswith(b"flux.kvs.")


def counts_of(packet: bytes) -> tuple[int, ...]:
    """The values of a packet of counters, in the order of its lines."""
    return tuple(int(line.rpartition(b":")[2].partition(b"|")[0]) for line in packet.split(b"\n"))


class PacketCount:
    """A sink that counts the lines of counter packets by window of time, in memory that does not grow with them.

    Of each window it keeps the kvs module's last counters. It needs no bytes for that: with an idle hook a packet goes
    out at nearly every message, and writing them and reading them again was 8 % of such a run.
    """

    target = "mem:"
    dialect = "strict"

    def __init__(self) -> None:
        #: Whose time the windows are of; set before anything is sent.
        self.reactor: Reactor
        self.sent = 0
        self.refused = 0
        self.reset()

    def reset(self) -> None:
        """Count from here on."""
        self._packets: Counter[int] = Counter()
        self._kvs: dict[int, Sequence[int]] = {}

    def taker(self, module: str) -> Callable[[Sequence[int]], object]:
        return self._take_kvs if module == "kvs" else self._take

    def _take(self, counts: Sequence[int]) -> None:
        self.sent += 1
        self._packets[self.reactor.now // _WINDOW_NS] += 1

    def _take_kvs(self, counts: Sequence[int]) -> None:
        self._take(counts)
        self._kvs[self.reactor.now // _WINDOW_NS] = counts

    def send(self, packet: bytes) -> bool:
        """Another metric: taken, and not looked at."""
        self.sent += 1
        return True

    def close(self) -> None:
        """Nothing is open."""

    @property
    def packets(self) -> int:
        """Packets of counters."""
        return self._packets.total()

    @property
    def peak_rate(self) -> float:
        """Highest number of lines per second over windows of ``WINDOW`` seconds."""
        return max(self._packets.values(), default=0) * _LINES / WINDOW

    def curve(self, start: float) -> tuple[tuple[float, int], ...]:
        """(begin of a window in s since ``start``, lines in it)."""
        return tuple(
            (max(0.0, at * WINDOW - start), packets * _LINES) for at, packets in sorted(self._packets.items())
        )

    def kvs(self, start: float) -> tuple[tuple[float, tuple[int, ...]], ...]:
        """(end of a window in s since ``start``, kvs's counters then)."""
        return tuple(((at + 1) * WINDOW - start, tuple(counts)) for at, counts in sorted(self._kvs.items()))


class Listener:
    """A real UDP socket on loopback that counts, in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self._closing = False
        self._settled = threading.Event()
        #: Packets of message counters: (seconds of the monotonic clock, lines in the packet), in order of arrival.
        self.packets: list[tuple[float, int]] = []
        #: What the kvs module's said: (seconds, its eight counters).
        self.kvs: list[tuple[float, tuple[int, ...]]] = []
        #: Packets of other metrics, such as the content cache's own.
        self.others = 0
        self._thread = threading.Thread(target=self._listen, name="udp-listener", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``HOST:PORT`` to send to."""
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def settle(self) -> int:
        """Wait until all that was sent to it by now is counted; the packets of counters there were."""
        # Sent to itself, it lies in the socket behind the others.
        self._settled.clear()
        self._socket.sendto(_MARK, self._socket.getsockname())
        self._settled.wait(_PATIENCE)
        return len(self.packets)

    def _listen(self) -> None:
        while not self._closing:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if data == _MARK:
                self._settled.set()
            elif is_counters(data):
                now = time.monotonic()
                self.packets.append((now, data.count(b"\n") + 1))
                if is_kvs(data):
                    self.kvs.append((now, counts_of(data)))
            else:
                self.others += 1

    def close(self) -> None:
        """Stop counting: what is in the socket by now was counted."""
        self._closing = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
