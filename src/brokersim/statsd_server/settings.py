"""Knows what a statsd server can be started with and what each setting may be; not how one is run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import attrs

from brokersim.statsd.config import AggregatorConfig, ConfigError
from brokersim.statsd.dialects import UnknownDialectError, dialect_name
from brokersim.statsd.slots import Keep, RetentionError, parse_retention

#: Asked for; the kernel grants root all of it, others what net.core.rmem_max allows. Room for 40,000 small packets,
#: which is what the fastest sender on loopback makes while they gather.
RECEIVE_BUFFER = 16 << 20
GATHER_S = 0.04
_HOST_PORT = re.compile(r"(?P<host>\[[^\]\s]+\]|\*|[^:\s/\[\]]*):(?P<port>\d{1,5})", re.ASCII)
_KINDS = {"udp": ("udp",), "tcp": ("tcp",), "": ("udp", "tcp")}


class ServeError(ValueError):
    """The statsd server cannot do as it is told, for a reason a person can mend."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where to listen or to connect. ``kinds`` are of udp, tcp and unix; ``host`` None is every interface."""

    kinds: tuple[str, ...]
    host: str | None = None
    port: int = 0
    path: str = ""


def parse_host_port(text: str, what: str, *, any_port: bool = True) -> tuple[str | None, int]:
    """``HOST:PORT``, ``[IPv6]:PORT``; ``:PORT`` or ``*:PORT``: every interface, None. ServeError names ``what``."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or not (0 if any_port else 1) <= int(match["port"]) <= 65535:
        free = ", port 0 for any free one" if any_port else ""
        raise ServeError(f"{what} {text!r} is no address; give HOST:PORT, such as 127.0.0.1:8125{free}")
    host = match["host"].removeprefix("[").removesuffix("]")
    return (None if host in ("", "*") else host), int(match["port"])


def parse_listen(text: str) -> Endpoint:
    """``udp://H:P``, ``tcp://H:P``, ``H:P`` (both) or ``unix://PATH`` (datagrams). Raises ServeError."""
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("unix", "unixgram"):
        if not rest or len(rest.encode()) > 107:  # sun_path, its NUL excluded
            raise ServeError(f"cannot listen on {text!r}: a socket path has 1 to 107 bytes")
        return Endpoint(kinds=("unix",), path=rest)
    kinds = _KINDS.get(scheme if mark else "")
    if kinds is None:
        raise ServeError(f"cannot listen on {text!r}: give HOST:PORT, udp://H:P, tcp://H:P or unix://PATH")
    host, port = parse_host_port(rest if mark else text, "listen address")
    return Endpoint(kinds=kinds, host=host, port=port)


def parse_target(url: str, what: str) -> tuple[str, int]:
    """Host and port of ``scheme://HOST:PORT[?…]``. Raises ServeError."""
    address = urlsplit(url).netloc
    host, port = parse_host_port(address, f"{what} {url!r}: target", any_port=False)
    if host is None:
        raise ServeError(f"{what} {url!r} names no host; give {what}://HOST:PORT")
    return host, port


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    """One text is meant as one, not as its letters."""
    return (value,) if isinstance(value, str) else tuple(value)


def _at_least(lowest: float, unit: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if not lowest <= value < math.inf:
            raise ServeError(f"{attribute.name} is {value}{unit}; it must be at least {lowest}{unit}")

    return check


def _check_dialect(_: object, __: attrs.Attribute[Any], name: str) -> None:
    try:
        dialect_name(name)
    except UnknownDialectError as error:
        raise ServeError(str(error)) from None


def _check_flush(_: object, __: attrs.Attribute[Any], seconds: float) -> None:
    try:
        if not seconds < math.inf:
            raise ConfigError(f"flush is {seconds} s; it must be finite")
        AggregatorConfig(flush=seconds)
    except ConfigError as error:
        raise ServeError(str(error)) from None


def _check_retention(_: object, __: attrs.Attribute[Any], retention: str | None) -> None:
    try:
        parse_retention(retention or "1s:1s")
    except RetentionError as error:
        raise ServeError(str(error)) from None


def _check_listen(_: object, __: attrs.Attribute[Any], addresses: tuple[str, ...]) -> None:
    for address in addresses:
        parse_listen(address)


def _check_address(_: object, attribute: attrs.Attribute[Any], address: str | None) -> None:
    if address is not None:
        parse_host_port(address, f"{attribute.name} address")


@attrs.frozen(kw_only=True)
class ServeSettings:
    """Everything a statsd server is started with, checked. Building it raises ServeError naming the bad setting.

    ``aggregator`` holds what concerns values and names; its interval gives way to ``flush_s``. ``gather_s`` is how
    long packets may gather in the kernel once the socket was found empty (0: none, for simulated clocks); every
    flush reads what waits, so this delays no value. ``is_aligned``: flushes come right before the multiples of
    ``flush_s``, so that what a slot keeps is the newest it can be.
    ``retention`` (``0.1s:1h,10s:7d``) is how finely and how long the run database keeps values, and how often Graphite
    gets them. ``tcp_stall_s`` is how long a TCP client may leave a line unfinished. ``grace_s`` is how long the end
    waits for outputs to deliver. ``goes_on``: a run database that a server left is continued, and its gauges and totals
    are taken up. ``allow_hosts`` are names the pages may be asked for by beside this machine's. All times are in s.
    """

    listen: tuple[str, ...] = attrs.field(
        default=("127.0.0.1:8125",), converter=_texts, validator=_check_listen
    )
    dialect: str = attrs.field(default="strict", validator=_check_dialect)
    flush_s: float = attrs.field(default=1.0, validator=_check_flush)
    is_aligned: bool = False
    aggregator: AggregatorConfig = attrs.field(factory=AggregatorConfig)
    outputs: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    retention: str | None = attrs.field(default=None, validator=_check_retention)
    http: str | None = attrs.field(default=None, validator=_check_address)
    management: str | None = attrs.field(default=None, validator=_check_address)
    allow_hosts: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    receive_buffer: int = attrs.field(default=RECEIVE_BUFFER, validator=_at_least(1, " bytes"))
    gather_s: float = attrs.field(default=GATHER_S, validator=_at_least(0, " s"))
    tcp_clients: int = attrs.field(default=1000, validator=_at_least(1, ""))
    tcp_stall_s: float = attrs.field(default=60.0, validator=_at_least(0.01, " s"))
    grace_s: float = attrs.field(default=5.0, validator=_at_least(0, " s"))
    own_metrics: bool = True
    goes_on: bool = False

    @property
    def keeps(self) -> tuple[Keep, ...]:
        """The retention, finest step first; empty: every flush, for ever."""
        return parse_retention(self.retention) if self.retention else ()

    @property
    def config(self) -> AggregatorConfig:
        """The aggregator's, with the flush interval of this server."""
        return attrs.evolve(self.aggregator, flush=self.flush_s)
