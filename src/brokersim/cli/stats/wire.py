"""Knows the UDP sockets of the stream tools: a sender that waits rather than loses, a receiver; not who uses them."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from brokersim.cli.errors import UNREACHABLE, CommandError, usage_error
from brokersim.protocol.plurals import counted
from brokersim.statsd.plain import Packet
from brokersim.statsd.reading.judged import SenderOf
from brokersim.statsd_server.settings import RECEIVE_BUFFER, ServeError, parse_listen
from brokersim.statsd_server.sockets import DatagramSocket, bind
from brokersim.statsd_server.udp import parse_address, stats_variable

#: statsd's own port.
DEFAULT_TARGET: Final = "127.0.0.1:8125"
#: Seconds a full send buffer may stay full before the packet counts as refused.
_PATIENCE: Final = 1.0


def default_target() -> str:
    """Where statsd is: BROKERSIM_STATS, else FLUX_FRIPP_STATSD, else 127.0.0.1:8125."""
    return stats_variable().partition(",")[0] or DEFAULT_TARGET


class Sender:
    """Sends packets to one statsd and counts what did not go. Raises CommandError if there is no way to it."""

    def __init__(self, address: str) -> None:
        self.target = f"udp://{address}"
        self.packets = 0
        self.bytes = 0
        self.failed: Counter[str] = Counter()
        self._socket = _connected(address)

    def send(self, packet: bytes) -> None:
        """Send one packet. A refusal by the peer belongs to the packet before, so this one is tried again."""
        for attempt in (1, 2):
            try:
                self._socket.send(packet)
            except BlockingIOError:
                if attempt == 1 and select.select([], [self._socket], [], _PATIENCE)[1]:
                    continue
                self.failed["the send buffer stayed full"] += 1
                return
            except OSError as error:
                self.failed[error.strerror or str(error)] += 1
                if error.errno == errno.ECONNREFUSED and attempt == 1:
                    continue
                return
            self.packets += 1
            self.bytes += len(packet)
            return

    def close(self) -> None:
        """Also asks whether the last packet was refused: loopback answers at once, a network may later or never."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self.failed[os.strerror(number)] += 1
        self._socket.close()

    def check(self) -> None:
        """Raises CommandError (exit code 3) if anything did not go."""
        if not self.failed:
            return
        reasons = ", ".join(
            f"{reason} ({counted(times, 'time')})" for reason, times in self.failed.most_common()
        )
        nobody = os.strerror(errno.ECONNREFUSED) in self.failed
        raise CommandError(
            f"{self.target}: {reasons}",
            hint="nobody listens there" if nobody else "",
            attempt=f"brokersim stats serve -l {self.target.removeprefix('udp://')}" if nobody else "",
            code=UNREACHABLE,
        )


def _connected(address: str) -> socket.socket:
    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise usage_error(str(error)) from None
    try:
        family, kind, protocol, _, peer = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        made.connect(peer)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"udp://{address}: {_reason(error)}", code=UNREACHABLE) from None
    return made


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class Receiver:
    """Datagram sockets bound to one address, each with the server's receive buffer. Raises CommandError if not."""

    def __init__(self, address: str) -> None:
        try:
            endpoint = parse_listen(address if "://" in address else f"udp://{address}")
        except ServeError as error:
            raise usage_error(str(error)) from None
        if endpoint.kinds not in (("udp",), ("unix",)):
            raise usage_error(
                f"cannot listen on {address!r}: only datagrams are taken; give HOST:PORT or unix://PATH"
            )
        try:
            bound = bind(endpoint)
        except ServeError as error:
            raise CommandError(
                str(error), hint="a server that runs can be asked: brokersim stats tail"
            ) from None
        except (OSError, UnicodeError) as error:
            raise CommandError(f"cannot listen on {address!r}: {_reason(error)}") from None
        self._sockets = [DatagramSocket(kind, sock, RECEIVE_BUFFER) for kind, sock in bound]

    @property
    def address(self) -> str:
        """As bound: ``udp://127.0.0.1:8125``."""
        return self._sockets[0].address

    def wait(self, seconds: float | None) -> bool:
        """Until a packet is there, at most so long. False if none came."""
        return bool(select.select([each.socket for each in self._sockets], [], [], seconds)[0])

    def drain(self, feed: Callable[[bytes, str | None], None]) -> None:
        """Feeds the packets that wait, at most a turn's worth of each socket, with their senders."""

        def take(packets: Sequence[Packet], sender_of: SenderOf, _: float) -> None:
            for index, packet in enumerate(packets):
                feed(bytes(packet), sender_of(index))

        for each in self._sockets:
            each.drain(take, 0.0)

    def dropped(self) -> int | None:
        """Packets the kernel threw away because the buffer was full; None if it does not tell."""
        drops = [each.statistics().kernel_drops for each in self._sockets]
        return sum(one or 0 for one in drops) if any(one is not None for one in drops) else None

    def close(self) -> None:
        for each in self._sockets:
            each.close()
