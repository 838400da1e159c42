"""Knows how statsd's sockets are bound, drained and asked what the kernel dropped; not what a datagram says."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokersim.statsd.plain import Packet
from brokersim.statsd.reading.judged import SenderOf
from brokersim.statsd_server.health import SocketStatistics
from brokersim.statsd_server.recvmmsg import (
    AT_ONCE,
    CompiledDatagrams,
    ManyDatagrams,
    NoRecvmmsgError,
    many_datagrams,
)
from brokersim.statsd_server.settings import Endpoint, ServeError

if TYPE_CHECKING:
    from brokersim.native._lines import Datagrams

#: Packets and, about, bytes read in one turn, so that others get theirs: some 2 ms of work.
TURN, TURN_BYTES = 1024, 256 << 10
#: One more than the longest packet that is looked at, so that a cut one is seen to be cut.
READ_BYTES = 65_536
_TRIES_FOR_A_COMMON_PORT = 16
_BACKLOG = 128
# asm-generic/socket.h: the same as SO_RCVBUF, beyond net.core.rmem_max.
_SO_RCVBUFFORCE = 33
# linux/sock_diag.h: nine 32-bit numbers, among them what waits, what may wait and what was dropped.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_RMEM_ALLOC, _RCVBUF, _DROPS = 0, 1, 8

Take = Callable[[Sequence[Packet], SenderOf, float], None]
#: The same for compiled code, which needs no objects.
TakeDatagrams = Callable[["Datagrams", SenderOf, float], None]


def address_text(kind: str, sock: socket.socket) -> str:
    """``udp://127.0.0.1:8125``, ``tcp://[::1]:8125`` or ``unix://PATH``, as bound."""
    name = sock.getsockname()
    return f"unix://{name}" if kind == "unix" else f"{kind}://{peer_text(name)}"


def peer_text(peer: Any) -> str | None:
    """``HOST:PORT`` of a socket address; a Unix socket's path, None if it has none."""
    if isinstance(peer, tuple):
        host, port = peer[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (peer.decode("utf-8", "backslashreplace") if isinstance(peer, bytes) else peer) or None


class DatagramSocket:
    """A bound, non-blocking datagram socket."""

    def __init__(self, kind: str, sock: socket.socket, asked: int) -> None:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            with suppress(OSError):  # for root alone; or more than a kernel without a limit of its own grants
                sock.setsockopt(socket.SOL_SOCKET, option, asked)
        self.socket = sock
        self.kind = kind
        self.address = address_text(kind, sock)
        self.packets = 0
        #: The last turn ended before the socket was empty.
        self.has_more = False
        self._asked = asked
        self._last: SocketStatistics | None = None
        self._many: CompiledDatagrams | ManyDatagrams | None = None
        if kind == "udp":
            with suppress(NoRecvmmsgError):
                self._many = many_datagrams(sock)

    @property
    def reads_many(self) -> bool:
        """Whether a system call brings many packets."""
        return self._many is not None

    def drain(self, take: Take, t: float, take_datagrams: TakeDatagrams | None = None) -> int:
        """Hands over what waits, at most a turn's worth; how many packets it was.

        With ``take_datagrams`` they go there where that is possible.
        """
        if take_datagrams is not None and isinstance(self._many, CompiledDatagrams):
            with suppress(NoRecvmmsgError):
                return self._drain_datagrams(self._many, take_datagrams, t)
            self._many = None  # a sandbox refuses what the library has
        packets: list[Packet] = []
        senders: list[SenderOf] = []
        size, is_empty = 0, False
        while not is_empty and len(packets) < TURN and size < TURN_BYTES:
            some, sender_of = self._read()
            packets += some
            senders.append(sender_of)
            is_empty = len(some) < AT_ONCE
            # A guess is enough: what comes together is much alike.
            size += len(some[0]) * len(some) if some else 0
        if packets:
            take(packets, lambda index: senders[index // AT_ONCE](index % AT_ONCE), t)
        self.packets += len(packets)
        self.has_more = not is_empty
        return len(packets)

    def _drain_datagrams(self, many: CompiledDatagrams, take: TakeDatagrams, t: float) -> int:
        datagrams = many.datagrams
        count = size = 0
        some = AT_ONCE
        while some == AT_ONCE and count < TURN and size < TURN_BYTES:
            some = many.receive()
            if some:
                take(datagrams, lambda index: peer_text(many.sender(index)), t)
                count += some
                size += datagrams.size()
        self.packets += count
        self.has_more = some == AT_ONCE
        return count

    def _read(self) -> tuple[Sequence[Packet], SenderOf]:
        """At most `AT_ONCE` packets, fewer if no more wait; and who sent each."""
        many = self._many
        if many is not None:
            try:
                packets = many.read()
            except NoRecvmmsgError:  # a sandbox refuses what the library has
                self._many = None
            else:
                sender = many.senders(len(packets))
                return packets, lambda index: peer_text(sender(index))
        received = self._read_one_by_one()
        return [packet for packet, _ in received], lambda index: peer_text(received[index][1])

    def _read_one_by_one(self) -> list[tuple[bytes, object]]:
        received: list[tuple[bytes, Any]] = []
        # Empty, or the report of an earlier packet's fate, which is none of ours.
        with suppress(OSError):
            while len(received) < AT_ONCE:
                received.append(self.socket.recvfrom(READ_BYTES))
        return received

    @property
    def granted(self) -> int:
        """Bytes of packets that may wait, the kernel's own records not counted."""
        # Linux tells twice what was asked for: the other half is for its own records.
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def statistics(self) -> SocketStatistics:
        """As it is; of a closed socket, as it was."""
        if self._last is not None:
            return self._last
        waiting, drops = kernel_state(self.socket)
        return SocketStatistics(
            address=self.address,
            packets=self.packets,
            kernel_drops=drops,
            kernel_queue=waiting,
            buffer=self.granted,
            asked=self._asked,
        )

    def close(self) -> None:
        self._last = self.statistics()
        path = self.socket.getsockname() if self.kind == "unix" else None
        self.socket.close()
        if path:
            with suppress(OSError):
                os.unlink(path)


def kernel_state(sock: socket.socket) -> tuple[int | None, int | None]:
    """Memory (bytes) of what waits in a socket, and the packets its kernel dropped; None where nobody says."""
    try:
        numbers = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return _kernel_table(sock)
    return numbers[_RMEM_ALLOC], numbers[_DROPS]


def _kernel_table(sock: socket.socket) -> tuple[int | None, int | None]:
    """The same from the kernel's UDP tables, for kernels that do not answer the question directly."""
    inode = str(os.fstat(sock.fileno()).st_ino)
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[9] == inode:
                    return int(fields[4].partition(":")[2], 16), int(fields[-1])
    return None, None


# --- binding


def bind(endpoint: Endpoint) -> list[tuple[str, socket.socket]]:
    """(kind, socket) of every address an endpoint stands for, all on one port. Raises ServeError."""
    if endpoint.path:
        return [("unix", _bind_unix(endpoint.path))]
    for _ in range(_TRIES_FOR_A_COMMON_PORT):
        bound: list[tuple[str, socket.socket]] = []
        try:
            for kind in endpoint.kinds:
                port = endpoint.port or (bound[0][1].getsockname()[1] if bound else 0)
                bound += [(kind, sock) for sock in _bind_kind(kind, endpoint.host, port)]
        except OSError as error:
            for _, sock in bound:
                sock.close()
            # A free port of one kind may be taken in the other: draw again.
            if endpoint.port or error.errno != errno.EADDRINUSE or len(endpoint.kinds) == 1:
                raise _bind_error("/".join(endpoint.kinds), endpoint, error) from None
        else:
            return bound
    raise ServeError(f"cannot listen on {endpoint.host or '*'}: no port is free for both UDP and TCP")


def listen_tcp(host: str | None, port: int, what: str) -> list[socket.socket]:
    """Listening TCP sockets of a host's addresses, on one port. Raises ServeError that begins with ``what``."""
    endpoint = Endpoint(kinds=("tcp",), host=host, port=port)
    try:
        return [sock for _, sock in bind(endpoint)]
    except ServeError as error:
        raise ServeError(f"{what}: {error}") from None


def _bind_kind(kind: str, host: str | None, port: int) -> Iterator[socket.socket]:
    """A socket for each address of a host; one is enough, since a machine may know names in families it lacks."""
    sock_type = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    found = socket.getaddrinfo(host, port, type=sock_type, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, protocol, _, address in dict.fromkeys(found):
        try:
            bound.append(_bound(family, sock_type, protocol, (address[0], port, *address[2:])))
        except OSError as error:
            failure = error
            if error.errno == errno.EADDRINUSE:
                break
        else:
            port = port or bound[0].getsockname()[1]
    if not bound or (failure is not None and failure.errno == errno.EADDRINUSE):
        for sock in bound:
            sock.close()
        raise failure or OSError(errno.EADDRNOTAVAIL, "no address")
    return iter(bound)


def _bound(family: int, sock_type: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, sock_type, protocol)
    try:
        if family == socket.AF_INET6:
            # Its IPv4 half has a socket of its own, so that every sender has one address and not two.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sock_type == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if sock_type == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    """Takes over the path of a server that is gone; one that is alive keeps it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        if _is_stale(path):
            os.unlink(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise ServeError(f"cannot listen on unix://{path}: {error.strerror}") from None
    return sock


def _is_stale(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


_ADVICE = {
    errno.EADDRINUSE: "; another server has it: choose another port, or 0 for any free one",
    errno.EACCES: "; ports below 1024 are for root",
}


def _bind_error(kinds: str, endpoint: Endpoint, error: OSError) -> ServeError:
    where = f"{endpoint.host or '*'}:{endpoint.port}"
    advice = _ADVICE.get(error.errno or 0, "")
    return ServeError(f"cannot listen on {kinds} {where}: {error.strerror or error}{advice}")
