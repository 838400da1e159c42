"""Knows what a short way is handed: options and arguments, an instance to ask, stdout; not what it does with them."""

from __future__ import annotations

import sys

from brokersim.cli.quick.peer import Aside, connect
from brokersim.protocol.lean import NODEID_ANY, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from brokersim.cli.quick.line import Options
    from brokersim.cli.quick.peer import Peer
    from brokersim.protocol.decoded import Json, JsonObject


class Asking:
    """What a short way is handed: options, arguments, an instance to ask, stdout."""

    def __init__(self, options: Options, arguments: list[str], patience: float | None = None) -> None:
        """``patience``: seconds to wait for each part of an answer; without end if None."""
        self.options = options
        self.arguments = arguments
        self.json = "json" in options
        self._patience = patience
        self._peer: Peer | None = None

    def rpc(self, topic: str, payload: JsonObject | None = None, nodeid: int = NODEID_ANY) -> Json:
        """The answer to one request. Raises Aside or Unsure."""
        if self._peer is None:
            self._peer = connect(self.options.get("uri"), self._patience)
        return self._peer.ask(topic, payload, nodeid)

    def one(self) -> str:
        """The only argument. Raises Aside if there is none, or more."""
        if len(self.arguments) != 1:
            raise Aside
        return self.arguments[0]

    def hand_over(self) -> Peer | None:
        """The connection, which is no longer ours to close."""
        peer, self._peer = self._peer, None
        return peer

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()

    def emit(self, document: object) -> None:
        """One JSON document on one line. Raises Unsure."""
        self.write(to_json(document) + b"\n")

    def out(self, text: str) -> None:
        """Lines of text. Raises Aside if a terminal, or a locale, would have to be spared some of it."""
        if not (text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()):
            raise Aside
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        self._told()

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self._told()

    def say(self, text: str) -> None:
        """Talk, on stderr."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _told(self) -> None:
        """A person has read what was asked so far: whoever goes on need not hear it."""
        if self._peer is not None:
            self._peer.heard.clear()

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[object]], drop: Sequence[str]) -> None:
        """As the whole command line lays it out."""
        from brokersim.cli.table import laid_out, terminal_width

        tsv, header = "tsv" in self.options, "no_header" not in self.options
        text, missing = laid_out(titles, rows, drop, tsv=tsv, header=header, width=terminal_width())
        if text:
            self.out(text)
        if missing:
            self.say(missing)
