"""Knows one command's settings, its connection and its two streams; not what any command does."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TextIO

import click
import msgspec

from brokersim.cli.errors import ANSWERED, CommandError, answered, usage_error
from brokersim.cli.harmless import harmless
from brokersim.cli.quick.peer import Peer
from brokersim.net.client import Client
from brokersim.net.discovery import find_uri
from brokersim.protocol.errnums import EHOSTUNREACH, RequestError
from brokersim.protocol.message import NODEID_ANY
from brokersim.protocol.ranks import parse_ranks

Explain = Callable[[RequestError], CommandError | None]


class Session:
    """What a command is handed: settings, ``client`` (connected when first used), data out and talk out."""

    def __init__(self, peer: Peer | None = None) -> None:
        """``peer``: a connection on which a short way has asked something already."""
        self.uri: str | None = None
        self.timeout: float | None = None
        self.config: str | None = None
        self.json = False
        self.tsv = False
        self.header = True
        self.color = "auto"
        self.quiet = False
        self.verbose = False
        self.debug = False
        self._client: Client | None = None
        self._peer = peer
        self._deadline: float | None = None

    # --- the instance

    @property
    def client(self) -> Client:
        """The connection to the instance; made on first use. Raises NoInstance, Unreachable, CommandError."""
        if self._client is None and self._peer is not None:
            peer, self._peer = self._peer, None
            connection = socket.socket(fileno=peer.detach())
            self._client = Client.resume(connection, peer.uri, peer.heard, deadline=self.deadline)
        if self._client is None:
            try:
                uri = find_uri(self.uri)
            except ValueError as error:
                raise usage_error(str(error)) from None
            self._client = Client.connect(uri, deadline=self.deadline)
        return self._client

    @property
    def deadline(self) -> float | None:
        """When ``--timeout`` runs out, in seconds of time.monotonic; it starts at the first use."""
        if self._deadline is None and self.timeout is not None and self.timeout < math.inf:
            self._deadline = time.monotonic() + self.timeout
        return self._deadline

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
        if self._client is not None:
            self._client.close()

    def rpc(
        self,
        topic: str,
        payload: object = None,
        *,
        rank: int | None = None,
        raw: bool = False,
        explain: Explain | None = None,
    ) -> Any:
        """The answer to one RPC. An error answer becomes CommandError: ``explain``'s, else the errno's words."""
        self.trace(topic, payload)
        try:
            return self.client.rpc(topic, payload, nodeid_of(rank), raw=raw)
        except RequestError as error:
            raise self.told(error, topic, rank, explain) from None

    def stream(
        self,
        topic: str,
        payload: object = None,
        *,
        rank: int | None = None,
        raw: bool = False,
        cancel: str | None = None,
        explain: Explain | None = None,
    ) -> Iterator[Any]:
        """The answers of a streaming RPC, errors as in :meth:`rpc`."""
        self.trace(topic, payload)
        responses = self.client.stream(topic, payload, nodeid_of(rank), raw=raw, cancel=cancel)
        try:
            yield from responses
        except RequestError as error:
            raise self.told(error, topic, rank, explain) from None

    def told(
        self, error: RequestError, topic: str, rank: int | None = None, explain: Explain | None = None
    ) -> CommandError:
        """The three lines of an error answer."""
        told = explain(error) if explain is not None else None
        if told is not None:
            return told
        text = str(error)
        what = text if topic in text else f"{topic}: {text}"
        return answered(error, what, hint=self._rank_hint(error, rank))

    def _rank_hint(self, error: RequestError, rank: int | None) -> str:
        if error.errno != EHOSTUNREACH or rank is None or error.text:
            return ""
        size = self.try_rpc("attr.get", {"name": "size"})
        return f"rank {rank} was asked; the instance has size {size['value']}" if size else ""

    def try_rpc(self, topic: str, payload: object = None) -> Any:
        """The answer, or None if it is an error: for hints, which must not fail themselves."""
        try:
            return self.client.rpc(topic, payload)
        except RequestError:
            return None

    def attribute(self, name: str) -> str:
        """The value of a broker attribute."""
        return str(self.rpc("attr.get", {"name": name})["value"])

    def now(self) -> float:
        """Seconds since the epoch by the instance's clock, which need not be ours."""
        clock = self.try_rpc("attr.get", {"name": "clock"})
        if clock is None or clock["value"] == "real":
            return time.time()
        return float(self.attribute("broker.starttime")) + float(self.rpc("broker.status")["uptime"])

    def ranks(self, text: str) -> list[int]:
        """The ranks meant by ``0``, ``1-3``, ``0,4`` or ``all``. Raises CommandError for one there is not."""
        size = int(self.attribute("size"))
        try:
            return parse_ranks(text, size)
        except ValueError as error:
            raise CommandError(f"{error} (EHOSTUNREACH)", code=ANSWERED) from None

    def sleep(self, seconds: float) -> None:
        """Waits, but not past the deadline. Raises TimeoutError then."""
        left = math.inf if self.deadline is None else self.deadline - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))
        if left < seconds:
            raise TimeoutError

    # --- stdout: data

    def emit(self, document: object) -> None:
        """One JSON document on one line."""
        self.write(msgspec.json.encode(document) + b"\n")

    @property
    def width(self) -> int | None:
        """Columns of the terminal that stdout is; None if it is none."""
        from brokersim.cli.table import terminal_width

        return terminal_width()

    def out(self, text: str) -> None:
        """Lines of text."""
        self._print(text, sys.stdout)

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        click.echo(data, nl=False)

    def table(
        self, titles: Sequence[str], rows: Iterable[Sequence[object]], drop: Sequence[str] = ()
    ) -> None:
        """A list as aligned columns, or as ``--tsv``; ``-n`` leaves the titles away.

        On a terminal that is too narrow the columns of ``drop`` go, first named first, until the rest fits, and a
        line of talk says which; what is still too wide is folded.
        """
        from brokersim.cli.table import laid_out

        text, missing = laid_out(titles, rows, drop, tsv=self.tsv, header=self.header, width=self.width)
        if text:
            self.out(text)
        if missing:
            self.say(missing)

    # --- stderr: talk

    def say(self, text: str) -> None:
        """Talk, unless ``-q``."""
        if not self.quiet:
            self._print(text, sys.stderr)

    def _print(self, text: str, stream: TextIO) -> None:
        # Not click.echo: it writes UTF-8 to a stream that says it is ASCII.
        # What others named and wrote must not move a person's cursor; what reads a pipe wants it as it is.
        text = harmless(text) if stream.isatty() else text
        stream.write(f"{text if self.use_color(stream) else click.unstyle(text)}\n")
        stream.flush()

    def trace(self, topic: str, payload: object) -> None:
        """With ``-v``, each request as it goes out."""
        if self.verbose:
            shown = payload if isinstance(payload, bytes) or payload is None else msgspec.json.encode(payload)
            self.say(f"> {topic} {'' if shown is None else shown.decode(errors='replace')}".rstrip())

    def use_color(self, stream: TextIO) -> bool:
        """``--color``, else NO_COLOR and FORCE_COLOR, else whether a terminal reads it."""
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()

    def style(self, text: str, color: str) -> str:
        """Text in a colour; it is stripped again where colours are not wanted."""
        return click.style(text, fg=color)

    def fail(self, what: str, *, hint: str = "", attempt: str = "") -> NoReturn:
        """Ends the command with exit code 1."""
        raise CommandError(what, hint=hint, attempt=attempt)


def nodeid_of(rank: int | None) -> int:
    """The nodeid of a rank; any for None."""
    return NODEID_ANY if rank is None else rank
