"""Knows how to tell that a browser is at the other end, and which names a page may be asked for by; no sockets.

A page from anywhere can make its reader's browser send lines to a port of this machine, and, by a name that its owner
points at 127.0.0.1, read what is served here. A browser cannot hide its request line, nor the name it was given.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address

_HTTP = re.compile(rb"[A-Z]{3,16} \S+ HTTP/\d")
#: How a request line begins that is too long to see the end of.
_HTTP_BEGIN = re.compile(rb"[A-Z]{3,16} (/|\*|https?:|wss?:)")
#: A TLS handshake: what is in it may be chosen by the page, line ends included.
_TLS = b"\x16\x03"
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def is_browsers(line: bytes, *, is_cut: bool = False) -> bool:
    """Is this line what a browser says first? ``is_cut``: it is only the beginning of one."""
    pattern = _HTTP_BEGIN if is_cut else _HTTP
    return line.startswith(_TLS) or pattern.match(line) is not None


def is_our_name(host: str, local: str, allowed: Iterable[str] = ()) -> bool:
    """May a page be asked for by ``host``, the value of a Host header, at the address ``local`` it came to?

    Loopback's names always; at another address that address and this machine's names; and those of ``allowed``.
    """
    name = _without_port(host).rstrip(".").lower()
    if name in allowed or name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    address, here = _address(name), _address(local)
    if address is not None:
        return address.is_loopback or address == here
    return here is not None and not here.is_loopback and name in _own_names()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@cache
def _own_names() -> frozenset[str]:
    full = socket.gethostname().lower()
    return frozenset({full, full.partition(".")[0], socket.getfqdn().lower()})
