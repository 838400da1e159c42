"""Knows how statsd packets leave: one connected, non-blocking UDP socket; never waits, never raises."""

from __future__ import annotations

import os
import socket
from typing import Final

from brokersim.statsd.receivers import ANY, receiver_name

#: HOST:PORT of a statsd, and what it reads: told to commands and module processes inside an instance.
ADDRESS_VARIABLE: Final = "BROKERSIM_STATS"
DIALECT_VARIABLE: Final = "BROKERSIM_STATS_DIALECT"
#: Flux's own; a person's choice, so it may carry words.
FLUX_VARIABLE: Final = "FLUX_FRIPP_STATSD"
_DIALECT: Final = "dialect="


def stats_variable() -> str:
    """What the environment says of where statistics go; empty if nothing."""
    return os.environ.get(ADDRESS_VARIABLE) or os.environ.get(FLUX_VARIABLE) or ""


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT``. Raises ValueError that says so."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"no statsd address {text!r}; give HOST:PORT, such as 127.0.0.1:8126")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class UdpSink:
    """Sends packets to a statsd server. Raises ValueError if the address does not resolve or has no way to it.

    ``sent`` counts what the kernel took, ``refused`` what it did not and what came back as refused: a packet to
    a closed port is first in the one and, when the next is sent, in the other. ``dialect`` is what the server reads.
    """

    def __init__(self, address: str, dialect: str = ANY) -> None:
        host, port = parse_address(address)
        try:
            family, kind, protocol, _, peer = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as error:
            raise ValueError(f"statsd address {address!r}: {_reason(error)}") from None
        self.target = address
        self.dialect = receiver_name(dialect)
        self.sent = 0
        self.refused = 0
        try:
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            self._socket.connect(peer)  # connected: half the price of sendto, and a closed port is noticed
        except OSError as error:
            raise ValueError(f"statsd address {address!r} cannot be sent to: {_reason(error)}") from None
        self._send = self._socket.send

    @staticmethod
    def environment(address: str, dialect: str) -> dict[str, str]:
        """What a program is told, to send statistics there too; `from_environment` reads it."""
        return {ADDRESS_VARIABLE: address, DIALECT_VARIABLE: dialect}

    @classmethod
    def from_environment(cls) -> UdpSink | None:
        """Where BROKERSIM_STATS, or else FLUX_FRIPP_STATSD, says; None if neither does. Raises ValueError."""
        text = stats_variable()
        if not text:
            return None
        address, *words = text.split(",")
        named = [word.removeprefix(_DIALECT) for word in words if word.startswith(_DIALECT)]
        return cls(address, *(named or [os.environ.get(DIALECT_VARIABLE) or ANY]))

    def send(self, packet: bytes) -> bool:
        """Hand a packet to the kernel; False if it was refused (full buffer, nobody listens)."""
        try:
            self._send(packet)
        except ConnectionRefusedError:
            return self._send_again(packet)
        except OSError:
            self.refused += 1
            return False
        self.sent += 1
        return True

    def _send_again(self, packet: bytes) -> bool:
        # The refusal reports an earlier packet; this one has not been tried yet.
        self.refused += 1
        try:
            self._send(packet)
        except OSError:
            self.refused += 1
            return False
        self.sent += 1
        return True

    def close(self) -> None:
        self._socket.close()
