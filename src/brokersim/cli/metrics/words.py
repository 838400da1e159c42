"""Knows how people write keys, values, thresholds and name=value words, and how rows become a table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.ranks import parse_ranks

#: What a row has beside its key and the results of its reducers.
_ALWAYS = ("key", "n", "begin", "end", "streams")
#: Columns that are long lists are shortened to so many entries.
_FEW = 5


def key(text: str) -> str | JsonObject:
    """A key: a plain text, ``module=kvs,type=request_tx``, or a JSON object. Raises ValueError."""
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a key: {text!r}: {error}") from None
        assert isinstance(found, dict)
        return found
    if "=" not in text:
        return text
    return {name: number(value) for name, value in pairs(text.split(","), "a key")}


def pairs(words: Iterable[str], what: str) -> list[tuple[str, str]]:
    """``name=value`` words. Raises ValueError."""
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{what}: {word!r} is no NAME=VALUE")
        found.append((name, value))
    return found


def number(text: str) -> int | float | str:
    """A number if it is written as one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def value(text: str) -> int | float | str:
    """What is observed. Raises ValueError for what is written like a number and is none."""
    found = number(text)
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{text} is no finite number")
    return found


_AT = re.compile(r"(?P<value>[^<>=]+)>=(?P<level>[^<>=]+)")


def threshold(text: str) -> JsonObject:
    """``sum>=1000``, or a series ``sum>=10,20,500``. Raises ValueError."""
    match = _AT.fullmatch(text.strip())
    levels = [number(level.strip()) for level in match["level"].split(",")] if match else []
    if match is None or any(isinstance(level, str) for level in levels):
        raise ValueError(f"not a threshold: {text!r}; give one like 'sum>=1000' or 'a.sum/a.n>=2.5'")
    wish: JsonObject = {"value": match["value"].strip()}
    return wish | ({"at": levels[0]} if len(levels) == 1 else {"series": levels})


def absent(record: JsonView, size: int = 1 << 20) -> str:
    """Who is not, or not wholly, in an epoch: ``missing 3,7-8; truncated 4 behind {"str":"b"}``; "" if all are in."""
    told = [f"{name} {record[name]}" for name in ("missing", "departed", "stale") if record.get(name)]
    told += [f"truncated {who} behind {last}" for who, last in record.get("truncated", ())]
    return "; ".join(told)


def ranks_of(text: str) -> int:
    """How many ranks a set names."""
    return len(parse_ranks(text, 1 << 20)) if text else 0


def table(rows: list[JsonObject]) -> tuple[list[str], list[list[object]]]:
    """Titles and cells: the fields of keys, how many observations, what each reducer tells."""
    flat = [_flat(row) for row in rows]
    fields = list(dict.fromkeys(name for row in rows for name in row["key"]))
    results = list(dict.fromkeys(name for row in flat for name in row))
    titles = [*(name.capitalize() for name in fields), *(_title(name) for name in results)]
    cells = [
        [*(row["key"].get(name) for name in fields), *(_cell(shown.get(name)) for name in results)]
        for row, shown in zip(rows, flat, strict=True)
    ]
    return titles, cells


def _title(name: str) -> str:
    return name if name[:1] == "p" and name[1:].isdigit() else name[:1].upper() + name[1:]


def _flat(row: JsonObject) -> JsonObject:
    streams = row.get("streams")
    if streams is None:
        return {"n": row["n"], **{name: value for name, value in row.items() if name not in _ALWAYS}}
    return {
        f"{stream}.{name}": value
        for stream, shown in streams.items()
        for name, value in shown.items()
        if name not in ("begin", "end")
    }


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        more = ["..."] if len(value) > _FEW else []
        return " ".join([*(_entry(one) for one in value[:_FEW]), *more])
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return value


def _entry(one: object) -> str:
    if isinstance(one, list):  # (value, count, epsilon) of the most frequent
        return f"{one[0]}:{one[1]}" + (f"±{one[2]}" if one[2] else "")
    return str(one)


def clock(seconds: float) -> str:
    """A moment as people read it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
