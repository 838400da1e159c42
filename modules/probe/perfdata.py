"""Knows what Nagios plugins print: a state by exit code, text, and performance data with its ranges; not how they run.

Source: the Monitoring Plugins development guidelines.
"""

from __future__ import annotations

import math
import re
from typing import Final

import attrs

STATES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
#: Bytes of text that are kept.
TEXT_MAX: Final = 4096
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_ITEM: Final = re.compile(r"\s*('(?:[^']|'')*'|[^'=\s]+)=(\S*)", re.ASCII)
#: A unit has no digits, quotes or semicolons; it doesn't begin as the rest of a number does, which a comma or a second
#: point for a decimal point would be.
_VALUE: Final = re.compile(rf"(U|{_NUMBER})((?![.,])[^;\d\s'\"]*)", re.ASCII)
_RANGE: Final = re.compile(rf"(@?)(?:(~|{_NUMBER})?:)?({_NUMBER})?", re.ASCII)
_WORD: Final = re.compile(r"\s*\S+", re.ASCII)
_BOUND: Final = re.compile(_NUMBER, re.ASCII)


@attrs.frozen
class Range:
    """Alerts outside ``low`` to ``high``, ends included in what is fine; with ``is_inside`` the other way round."""

    low: float
    high: float
    is_inside: bool = False

    def alerts(self, value: float) -> bool:
        return (self.low <= value <= self.high) == self.is_inside


def _finite(text: str) -> float:
    """Raises ValueError: 1e999 is written as a number, and is none to count with."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r:.40} is too large a number")
    return number


def _bound(text: str) -> float | None:
    """A minimum or maximum, None where it is empty. Raises ValueError: float() takes more than plugins may say."""
    if text and not _BOUND.fullmatch(text):
        raise ValueError(f"{text!r:.40} is no number")
    return _finite(text) if text else None


def parse_range(text: str) -> Range | None:
    """``10``, ``10:``, ``~:10``, ``10:20``, ``@10:20``; None where it is empty. Raises ValueError."""
    if not text:
        return None
    match = _RANGE.fullmatch(text)
    if match is None or text == "@" or (":" not in text and match[3] is None):
        raise ValueError(f"{text!r:.40} is no range")
    low = -math.inf if match[2] == "~" else _finite(match[2] or "0")
    high = math.inf if match[3] is None else _finite(match[3])
    if low > high:
        raise ValueError(f"{text!r:.40} is no range: it begins behind its end")
    return Range(low, high, match[1] == "@")


@attrs.frozen
class Item:
    """One value a plugin measured; ``value`` is None for U. The unit is what stood there, word for word."""

    label: str
    value: float | None
    unit: str = ""
    warn: Range | None = None
    crit: Range | None = None
    least: float | None = None
    most: float | None = None

    @property
    def is_counter(self) -> bool:
        return self.unit == "c"


def parse_item(label: str, text: str) -> Item:
    """``value[unit];[warn];[crit];[min];[max]``, missing at the end. Raises ValueError."""
    value, *rest = text.split(";")
    match = _VALUE.fullmatch(value)
    if not label or match is None or len(rest) > 4 or (match[1] == "U" and match[2]):
        raise ValueError(f"{label!r:.40}={text!r:.60} is no performance data")
    warn, crit, least, most = [*rest, "", "", "", ""][:4]
    number = None if match[1] == "U" else _finite(match[1])
    return Item(label, number, match[2], parse_range(warn), parse_range(crit), _bound(least), _bound(most))


def parse_perfdata(text: str) -> tuple[list[Item], int]:
    """The items of a line of performance data, and how many were none: one that is bad leaves the others be."""
    items: list[Item] = []
    bad, at = 0, 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            word = _WORD.match(text, at)
            if word is None:
                break
            # Whatever stands here ends at the next blank.
            bad += 1
            at = word.end()
            continue
        at = match.end()
        label = match[1]
        if label.startswith("'"):
            label = label[1:-1].replace("''", "'")
        try:
            items.append(parse_item(label, match[2]))
        except ValueError:
            bad += 1
    return items, bad


@attrs.frozen
class Output:
    """What a plugin printed: its text, all performance data, and how many items were none."""

    text: str
    items: tuple[Item, ...]
    bad: int


def parse_output(data: bytes) -> Output:
    """``TEXT | PERF`` on the first line; then long text up to the next ``|``, and performance data behind it."""
    first, _, rest = data.decode(errors="replace").partition("\n")
    text, _, perf = first.partition("|")
    long, _, more = rest.partition("|")
    items, bad = parse_perfdata(perf)
    for line in more.split("\n"):
        found, worse = parse_perfdata(line)
        items, bad = items + found, bad + worse
    whole = "\n".join(filter(None, (text.strip(), long.strip())))
    return Output(whole.encode()[:TEXT_MAX].decode(errors="ignore"), tuple(items), bad)


def state_of(code: int | None, trouble: str = "") -> tuple[str, str]:
    """The state of an exit code, and why it is UNKNOWN if it is for another reason than saying so.

    ``code`` is None for what did not exit by itself: a signal, a timeout, a failure to start.
    """
    if code is not None and 0 <= code <= 3 and not trouble:
        return STATES[code], ""
    return STATES[3], trouble or ("killed" if code is None else f"exit code {code}")
