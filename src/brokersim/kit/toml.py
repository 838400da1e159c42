"""Knows how to write the TOML that people review, in the order given, and in which line of it something stands."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping

from brokersim.protocol.decoded import JsonView

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump(tables: JsonView, heading: str = "") -> str:
    """TOML text; nested mappings become tables. Raises TypeError for a value it has no form for."""
    lines = [f"# {line}" if line else "#" for line in heading.splitlines()]
    lines += _table(tables, ())
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(table: JsonView, path: tuple[str, ...]) -> Iterator[str]:
    values = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    inner = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    if path and (values or not inner):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for name, value in values.items():
        yield f"{_key(name)} = {_value(value)}"
    for name, value in inner.items():
        yield from _table(value, (*path, name))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped and JSON leaves.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"no TOML for a {type(value).__name__}")


class Misplaced(ValueError):
    """What stands at ``path`` (tables and key) is wrong; ``text`` goes on after its name."""

    def __init__(self, path: tuple[str, ...], text: str) -> None:
        super().__init__(f"{shown_path(path)} {text}")
        self.path = path
        self.text = text


def shown_path(path: tuple[str, ...]) -> str:
    """``[counters."kvs.0"] request_rx``; a name at the top by itself."""
    if len(path) < 2:
        return _key(path[0])
    return f"[{'.'.join(map(_key, path[:-1]))}] {_key(path[-1])}"


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line (from 1) of a file that TOML could read in which a key or table stands, if it can be told."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            keys = _keys(tomllib.loads(line))
        except tomllib.TOMLDecodeError:
            continue  # a part of something that goes over several lines
        if line.lstrip().startswith("["):
            table = here = keys
        else:
            here = (*table, *keys)
        if keys and here[: len(path)] == path:
            return number
    return None


def _keys(tables: JsonView) -> tuple[str, ...]:
    """The names down the first branch, without what a value is made of."""
    for name, inner in tables.items():
        return (name, *(_keys(inner) if isinstance(inner, Mapping) else ()))
    return ()
