"""Knows how what a command printed becomes metrics: by regular expressions, by JSON pointers; not the command."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from .answers import RESERVED
from .pointer import at_pointer, check_pointer

#: Groups that are no metrics.
SUBJECT: Final = "subject"
_FLAGS: Final = {"I": re.I, "M": re.M, "S": re.S, "X": re.X, "A": re.A}
_CONVERSIONS: Final[dict[str, Callable[[str], Any]]] = {"int": int, "float": float, "text": str, "str": str}


def compiled(regexes: Any, flags: str = "M") -> list[re.Pattern[str]]:
    """Regular expressions, one or a list. Raises ValueError for one that is none, or names a group twice.

    Lines are anchored (M); a dot ends at a line's end unless S is asked for.
    """
    given = [regexes] if isinstance(regexes, str) else list(regexes)
    bits = re.NOFLAG
    for letter in flags:
        if letter not in _FLAGS:
            raise ValueError(f"flags {flags!r:.20}: no {letter!r}; there are {''.join(_FLAGS)}")
        bits |= _FLAGS[letter]
    found, seen = [], set[str]()
    for regex in given:
        try:
            pattern = re.compile(regex, bits)
        except (re.error, TypeError) as error:
            raise ValueError(f"regex {regex!r:.60}: {error}") from None
        twice = seen.intersection(pattern.groupindex) - {SUBJECT, "ts"}
        if twice:
            raise ValueError(f"regex {regex!r:.60}: the group {min(twice)!r} is in another one, too")
        taken = RESERVED.intersection(pattern.groupindex) - {"ts"}
        if taken:
            raise ValueError(
                f"regex {regex!r:.60}: {min(taken)!r} is no name for a metric: it means more in an answer"
            )
        if not pattern.groupindex:
            raise ValueError(f"regex {regex!r:.60} names no group: (?P<rtt>...) is a metric")
        seen.update(pattern.groupindex)
        found.append(pattern)
    return found


def check_conversions(convert: Mapping[str, str]) -> None:
    """Raises ValueError."""
    for name, kind in convert.items():
        if kind not in _CONVERSIONS:
            raise ValueError(f"convert/{name} must be {', '.join(_CONVERSIONS)}, not {kind!r:.40}")


def matched(
    text: str, patterns: Sequence[re.Pattern[str]], convert: Mapping[str, str], every: bool = False
) -> list[dict[str, Any]]:
    """Metrics by named groups: of the first match of each expression together, or a reading a match by position."""
    if not every:
        first = [pattern.search(text) for pattern in patterns]
        whole: dict[str, Any] = {}
        for match in first:
            if match is not None:
                whole |= _metrics(match, convert)
        return [whole] if whole else []
    found = [match for pattern in patterns for match in pattern.finditer(text)]
    return [_metrics(match, convert) for match in sorted(found, key=lambda match: match.start())]


def _metrics(match: re.Match[str], convert: Mapping[str, str]) -> dict[str, Any]:
    groups = match.groupdict()
    return {name: value(text, convert.get(name)) for name, text in groups.items() if text is not None}


def value(text: str, kind: str | None = None) -> Any:
    """A text as a number if it is one, or as it is wanted. Raises ValueError if it cannot be that."""
    if kind is not None:
        return _CONVERSIONS[kind](text)
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        return number if convert is int or math.isfinite(number) else text
    return text


def as_json(data: bytes, metrics: Mapping[str, str]) -> dict[str, Any]:
    """Metrics by JSON pointers; what is not there is partial. Raises ValueError for what is no JSON."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"its output is no JSON: {error}") from None
    found: dict[str, Any] = {}
    partial = []
    for name, pointer in metrics.items():
        try:
            found[name] = at_pointer(document, pointer)
        except LookupError:
            partial.append(name)
    return found | {"partial": partial}


def check_pointers(metrics: Mapping[str, str]) -> None:
    """Raises ValueError."""
    for name, pointer in metrics.items():
        if name in RESERVED - {"ts", "text", "identity"}:
            raise ValueError(f"metrics/{name}: that is no name for a metric: it means more in an answer")
        check_pointer(pointer)
