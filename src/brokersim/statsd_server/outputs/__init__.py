"""Knows the outputs by the addresses people write; not what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from brokersim.statsd.slots import Keep
from brokersim.statsd_server.outputs.base import Output, PacketOutput, QueuedOutput
from brokersim.statsd_server.outputs.console import Console
from brokersim.statsd_server.outputs.forward import Forward
from brokersim.statsd_server.outputs.graphite import BUFFER_LINES, Graphite
from brokersim.statsd_server.outputs.rundb import RunDatabaseOutput
from brokersim.statsd_server.outputs.thinned import thinned
from brokersim.statsd_server.settings import ServeError, parse_target

__all__ = ["Output", "PacketOutput", "QueuedOutput", "open_output", "thinned"]


def open_output(
    url: str, *, inline: bool = False, keeps: Sequence[Keep] = (), goes_on: bool = False
) -> Output:
    """The output of ``graphite://H:P[?buffer=LINES]``, ``statsd://H:P``, ``db:PATH`` or ``console:``.

    ``inline`` is for simulated clocks: what could be done in a thread is done at once. ``keeps`` is how long a run
    database keeps what, ``goes_on`` whether it may be one that a server left. Raises ServeError.
    """
    if url.startswith("db:"):
        return _database(url, inline, keeps, goes_on)
    scheme, colon, _ = url.partition(":")
    opener = _OPENERS.get(scheme) if colon else None
    if opener is None:
        raise ServeError(f"no output {url!r}; give {', '.join(_FORMS)}")
    return opener(url)


_FORMS = ("graphite://HOST:PORT", "statsd://HOST:PORT", "db:PATH", "console:")


def _graphite(url: str) -> Output:
    host, port = parse_target(url, "graphite")
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    buffer = options.pop("buffer", str(BUFFER_LINES))
    if options:
        raise ServeError(f"output {url!r}: no option {min(options)!r}; there is buffer=LINES")
    if not (buffer.isascii() and buffer.isdecimal() and 0 < int(buffer) <= 10**8):
        raise ServeError(f"output {url!r}: buffer is {buffer!r}; give a number of lines, 1 to 100,000,000")
    return Graphite(host, port, buffer=int(buffer))


def _forward(url: str) -> Output:
    host, port = parse_target(url, "statsd")
    return Forward(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _database(url: str, inline: bool, keeps: Sequence[Keep], goes_on: bool) -> Output:
    path = url.partition(":")[2]
    if not path:
        raise ServeError(f"output {url!r} names no file; give db:PATH")
    return RunDatabaseOutput(Path(path), inline=inline, keeps=keeps, goes_on=goes_on)


def _console(url: str) -> Output:
    if url != "console:":
        raise ServeError(f"no output {url!r}; the console is console: and nothing behind it")
    return Console()


_OPENERS: dict[str, Callable[[str], Output]] = {
    "graphite": _graphite,
    "statsd": _forward,
    "console": _console,
}
