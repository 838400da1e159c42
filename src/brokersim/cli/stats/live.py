"""Knows two sources of live statsd lines: a statsd server's HTTP, and a port of our own; not what lines say."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from brokersim.cli.errors import UNREACHABLE, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.recording import shown
from brokersim.cli.stats.wire import Receiver
from brokersim.net.client import Unreachable
from brokersim.net.discovery import NoInstance
from brokersim.protocol.plurals import counted
from brokersim.statsd_server.settings import ServeError, parse_host_port

#: Where `stats serve` has its HTTP unless told otherwise: beside statsd's own two ports, 8125 and 8126.
DEFAULT_HTTP: Final = "127.0.0.1:8127"
#: Where an instance tells its own.
ATTRIBUTE: Final = "stats.http"
#: The server says something every 15 s, if only that it is there.
_SILENCE: Final = 60.0
_CONNECT: Final = 5.0
_LONGEST_HEAD: Final = 65_536


class Line(NamedTuple):
    """One statsd line: when it came (s), its bytes, who sent it."""

    t: float
    data: bytes
    sender: str | None


#: None stands for a pause: nothing came for as long as the reader asked to be told.
Live = Iterator[Line | None]


def listening(address: str, pause: float | None, clock: Callable[[], float] = time.time) -> Live:
    """The lines of every packet that arrives at a port of our own. Raises CommandError if it cannot be bound."""
    receiver = Receiver(address)
    return _received(receiver, pause, clock)


def _received(receiver: Receiver, pause: float | None, clock: Callable[[], float]) -> Live:
    waiting: list[Line] = []

    def keep(packet: bytes, sender: str | None) -> None:
        t = clock()
        waiting.extend(Line(t, row, sender) for row in packet.split(b"\n") if row)

    try:
        while True:
            if receiver.wait(pause):
                receiver.drain(keep)
            yield from waiting
            waiting.clear()
            yield None
    finally:
        receiver.close()


def default_server(session: Session) -> str:
    """The HTTP address of the instance's own statsd server if it has one, else the one `stats serve` chooses."""
    try:
        answer = session.try_rpc("attr.get", {"name": ATTRIBUTE})
    except (NoInstance, Unreachable, CommandError):
        answer = None
    return str(answer["value"]) if answer else DEFAULT_HTTP


def subscribed(session: Session, address: str | None, glob: str, pause: float | None) -> Live:
    """The lines a statsd server receives, from its HTTP. Raises CommandError if there is none."""
    where = (address or default_server(session)).removeprefix("http://").rstrip("/")
    try:
        host, port = parse_host_port(where, "server", any_port=False)
    except ServeError as error:
        raise usage_error(str(error)) from None
    try:
        sock = socket.create_connection((host or "127.0.0.1", port), timeout=_CONNECT)
        # HTTP/1.0: the answer is not cut into chunks and ends with the connection.
        query = urlencode({"glob": glob, "lines": 1, "flushes": 0})
        sock.sendall(f"GET /tail?{query} HTTP/1.0\r\nHost: {where}\r\n\r\n".encode())
        status, rest = _head(sock)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandError(
            f"no statsd server at http://{where}: {reason}",
            hint="without one, listen yourself: brokersim stats tail -l 127.0.0.1:8125",
            attempt="brokersim stats serve        (in another terminal)",
            code=UNREACHABLE,
        ) from None
    if status.split()[1:2] != [b"200"]:
        raise CommandError(f"http://{where}/tail answers {shown(status)!r}", hint="is it one of ours?")
    return _streamed(session, where, sock, rest, pause)


def _head(sock: socket.socket) -> tuple[bytes, bytes]:
    """The status line of an answer, and what came behind its head. Raises OSError."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(4096)
        if not part or len(data) > _LONGEST_HEAD:
            raise OSError(0, "no HTTP answer")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], rest


def _streamed(session: Session, where: str, sock: socket.socket, rest: bytes, pause: float | None) -> Live:
    with sock:
        try:
            for kind, data in events(_rows(sock, rest, pause)):
                if kind == "gap":
                    session.say(
                        f"warning: {counted(data['dropped'], 'line')} missed: read faster, or choose with -f"
                    )
                elif kind == "line":
                    # What is no UTF-8 comes as \xNN and stays so: no dialect of ours has such names.
                    yield Line(float(data["t"]), str(data["line"]).encode(), data.get("sender"))
                elif kind == "":
                    yield None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CommandError(f"http://{where}: {error or type(error).__name__}", code=UNREACHABLE) from None
    raise CommandError(f"the statsd server at http://{where} has ended", code=UNREACHABLE)


def _rows(sock: socket.socket, buffer: bytes, pause: float | None) -> Iterator[bytes | None]:
    """Lines of the stream; None after each part of it and after each pause."""
    sock.settimeout(min(pause or _SILENCE, _SILENCE))
    heard = time.monotonic()
    while True:
        *rows, buffer = buffer.split(b"\n")
        yield from rows
        yield None
        try:
            part = sock.recv(1 << 16)
        except TimeoutError:
            if time.monotonic() - heard >= _SILENCE:
                raise OSError(f"nothing came for {_SILENCE:g} s") from None
            continue
        if not part:
            return
        heard = time.monotonic()
        buffer += part


def events(rows: Iterable[bytes | None]) -> Iterator[tuple[str, Any]]:
    """(event, data) of a server-sent event stream; ("", None) for None. Raises ValueError for what is no JSON."""
    kind, data = "message", b""
    for row in rows:
        if row is None:
            yield "", None
            continue
        row = row.rstrip(b"\r")
        field, _, value = row.partition(b":")
        if not row:
            if data:
                yield kind, json.loads(data)
            kind, data = "message", b""
        elif field == b"event":
            kind = value.strip().decode()
        elif field == b"data":
            data += value.removeprefix(b" ")
