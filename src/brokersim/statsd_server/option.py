"""Knows the words of ``--stats``: where statistics go, for whom and under which names; not how they get there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from brokersim.protocol.duration import parse_duration
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.names import JOURNAL_PREFIX, MODULE_PREFIX, module_prefix
from brokersim.statsd.receivers import ANY, receiver_name
from brokersim.statsd_server.settings import ServeSettings

WORD: Final = "serve"
MEMORY: Final = "mem:"
_NOWHERE: Final = "none"
#: Any free port: several instances of one user run side by side.
_ANY_PORT: Final = "127.0.0.1:0"


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"health={text}: give health=on or health=off")
    return text == "on"


def parse_creates(text: str) -> float:
    """``N`` or ``N/min`` new series a minute. Raises ValueError."""
    number = text.removesuffix("/min")
    if not (number.isascii() and number.isdecimal()) or not int(number):
        raise ValueError(f"not a limit on new series: {text!r}; give N/min, such as carbon's 50/min")
    return float(number)


def _creates(text: str) -> AggregatorConfig:
    return AggregatorConfig(max_creates_per_minute=parse_creates(text))


# word: (field of ServeSettings, how its text is read)
_WORDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "listen": ("listen", str),
    "dialect": ("dialect", str),
    "flush": ("flush_s", parse_duration),
    "http": ("http", str),
    "management": ("management", str),
    "allow-host": ("allow_hosts", str),
    "forward": ("outputs", str),
    "db": ("outputs", "db:{}".format),
    "retention": ("retention", str),
    "health": ("own_metrics", _switch),
    "creates": ("aggregator", _creates),
}
_HOST_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\s]+):(?P<port>\d{1,5})", re.ASCII)
_NAMES: Final[Mapping[str, str]] = {"rank": MODULE_PREFIX, "journal": JOURNAL_PREFIX}


@attrs.frozen(kw_only=True)
class StatsOption:
    """What ``--stats`` says. ``address`` is HOST:PORT, ``mem:``, or empty where a server is yet to get one.

    ``server`` is the one inside the instance; without it ``dialect`` is what the receiver reads. ``prefix`` stands
    before the modules' names, ``{module}`` and ``{rank}`` in it; None: nothing is said of it.
    """

    address: str = ""
    server: ServeSettings | None = None
    dialect: str = ANY
    prefix: str | None = None


def parse_stats(text: str, *, sockets: bool = True) -> StatsOption:
    """``HOST:PORT``, ``mem:`` or ``serve``, and ``WORD=VALUE`` behind it. Raises ValueError that says what is right.

    Words of every target: ``names=rank|journal``, ``prefix=TEMPLATE``. Of a server elsewhere: ``dialect=NAME``, and
    with words only it is one without an address. For ``serve`` see `parse_serve`.
    """
    if is_serve(text):
        return StatsOption(server=parse_serve(text, sockets=sockets), prefix=_named(_words_of(text)[1]))
    address, words = _words_of(text)
    dialect = words.get("dialect", ANY)
    if unknown := words.keys() - {"dialect", "names", "prefix"}:
        raise ValueError(
            f"not a statsd target: {text!r}; {min(unknown)!r} is none of dialect=, names=, prefix= "
            "(127.0.0.1:8125,dialect=brubeck)"
        )
    if address != MEMORY and address:
        _check_address(address)
    return StatsOption(address=address, dialect=receiver_name(dialect), prefix=_named(words))


def _words_of(text: str) -> tuple[str, dict[str, str]]:
    """What is before the words, and the words."""
    head, *rest = text.removeprefix(f"{WORD}:").split(",")
    if "=" in head:
        head, rest = "", [head, *rest]
    return head, {name: value for name, _, value in (part.partition("=") for part in rest)}


def _check_address(address: str) -> None:
    match = _HOST_PORT.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f"not a statsd target: {address!r}; give HOST:PORT (127.0.0.1:8125), serve or mem:")


def _named(words: Mapping[str, str]) -> str | None:
    """The template that ``names=`` or ``prefix=`` stands for."""
    names, prefix = words.get("names"), words.get("prefix")
    if names is not None and names not in _NAMES:
        raise ValueError(f"names={names}: give names={' or names='.join(_NAMES)}, or prefix=TEMPLATE")
    if names is not None and prefix is not None:
        raise ValueError(f"names={names} and prefix={prefix} say two things; give one")
    if prefix is not None:
        module_prefix(prefix, "module", 0)
    return prefix if names is None else _NAMES[names]


def is_serve(text: str) -> bool:
    """Does ``--stats`` ask for a server inside the instance?"""
    return text.partition(":")[0] == WORD


def parse_serve(text: str, *, sockets: bool = True) -> ServeSettings:
    """``serve`` or ``serve:WORD=VALUE,...``. Raises ValueError that says what would be right.

    Words: listen, dialect, flush, http, management, allow-host, forward, db, retention; ``health=off`` for none of the
    server's own series; ``creates=50`` to spread new ones over minutes, the most telling first. Listening and HTTP
    are on free loopback ports unless told otherwise or ``none``; without ``sockets`` (simulated time, in which every
    peer is late) there are none.
    """
    chosen: dict[str, Any] = {}
    outputs: list[str] = []
    word, _, rest = text.partition(":")
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        if value and name in ("names", "prefix"):
            continue  # of the instance, not of the server
        if not equals or name not in _WORDS or not value:
            raise ValueError(
                f"not a statsd server: {text!r}; {part!r} is none of {'=, '.join(_WORDS)}=, names=, prefix= "
                "(serve:flush=0.1s,db=run.db)"
            )
        field, read = _WORDS[name]
        if field == "outputs":
            outputs.append(read(value))
        else:
            chosen[field] = None if value == _NOWHERE else read(value)
    if word != WORD:
        raise ValueError(f"not a statsd server: {text!r}; give serve or serve:WORD=VALUE,...")
    default = _ANY_PORT if sockets else None
    chosen.setdefault("http", default)
    listen = chosen.pop("listen", default)
    values: Any = (listen,) if listen is not None else ()
    # No gathering in simulated time: it passes at once, or eight times as fast.
    pause = {} if sockets else {"gather_s": 0.0}
    return ServeSettings(listen=values, outputs=outputs, **chosen, **pause)  # type: ignore[arg-type]  # converter
