"""Knows the words of ``--stats serve`` and which statsd server they mean; not how it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from brokersim.protocol.duration import parse_duration
from brokersim.statsd_server.settings import ServeSettings

WORD: Final = "serve"
_NOWHERE: Final = "none"
#: Any free port: several instances of one user run side by side.
_ANY_PORT: Final = "127.0.0.1:0"

# word: (field of ServeSettings, how its text is read)
_WORDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "listen": ("listen", str),
    "dialect": ("dialect", str),
    "flush": ("flush_s", parse_duration),
    "http": ("http", str),
    "management": ("management", str),
    "forward": ("outputs", str),
    "db": ("outputs", "db:{}".format),
    "retention": ("retention", str),
}


def is_serve(text: str) -> bool:
    """Does ``--stats`` ask for a server inside the instance?"""
    return text.partition(":")[0] == WORD


def parse_serve(text: str, *, sockets: bool = True) -> ServeSettings:
    """``serve`` or ``serve:WORD=VALUE,...``. Raises ValueError that says what would be right.

    Words: listen, dialect, flush, http, management, forward, db, retention. Listening and HTTP are on free loopback
    ports unless told otherwise or ``none``; without ``sockets`` (simulated time, in which every peer is late) there are
    none.
    """
    chosen: dict[str, Any] = {}
    outputs: list[str] = []
    word, _, rest = text.partition(":")
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        if not equals or name not in _WORDS or not value:
            raise ValueError(
                f"not a statsd server: {text!r}; {part!r} is none of {'=, '.join(_WORDS)}= "
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
