"""Knows the UDP sockets of the stream tools: a sender that waits rather than loses, a receiver; not who uses them."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import Counter
from typing import Final

from brokersim.cli.errors import UNREACHABLE, CommandError, usage_error
from brokersim.net.udp import parse_address

#: statsd's own port.
DEFAULT_TARGET: Final = "127.0.0.1:8125"
_TARGET_VARIABLE: Final = "FLUX_FRIPP_STATSD"
#: More than any datagram.
LARGEST: Final = 65_536
#: As the server asks for; what the kernel grants may be less.
_RECEIVE_BUFFER: Final = 4 << 20
#: Seconds a full send buffer may stay full before the packet counts as refused.
_PATIENCE: Final = 1.0
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_MEMINFO_DROPS: Final = 8


def default_target() -> str:
    """Where statsd is: FLUX_FRIPP_STATSD, else 127.0.0.1:8125."""
    return os.environ.get(_TARGET_VARIABLE) or DEFAULT_TARGET


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
        reasons = ", ".join(f"{reason} ({times:,} times)" for reason, times in self.failed.most_common())
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
    """A bound UDP socket. Port 0 is any free one. Raises CommandError if it cannot be bound."""

    def __init__(self, address: str) -> None:
        host, colon, port = address.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise usage_error(
                f"no address to listen on: {address!r}; give HOST:PORT, such as {DEFAULT_TARGET}"
            )
        try:
            family, kind, protocol, _, own = socket.getaddrinfo(
                host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.setblocking(False)
            self._socket.bind(own)
        except (OSError, UnicodeError) as error:
            busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            hint = "a statsd server listens there already" if busy else ""
            raise CommandError(f"cannot listen on udp://{address}: {_reason(error)}", hint=hint) from None

    @property
    def address(self) -> str:
        """``host:port`` as bound."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def wait(self, seconds: float | None) -> bool:
        """Until a packet is there, at most so long. False if none came."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def receive_nowait(self) -> tuple[bytes, str] | None:
        """The next packet and its sender; None if none waits."""
        try:
            packet, peer = self._socket.recvfrom(LARGEST)
        except BlockingIOError:
            return None
        return packet, f"{peer[0]}:{peer[1]}"

    def dropped(self) -> int | None:
        """Packets the kernel threw away because this socket's buffer was full; None if it does not tell."""
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(told)[_MEMINFO_DROPS]) if len(told) == _MEMINFO.size else None

    def close(self) -> None:
        self._socket.close()
