"""Knows where samples of a measurement go and when, as its record says it; not how they get there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import attrs

from brokersim.brokermod import duration

from ..faults import Faults, Gathered

COUNTERS: Final = ("raw", "delta", "rate")
#: Bytes that wait for a report at most: what is never reported would gather without end.
HELD_MAX: Final = 1 << 20
DEFAULTS: Final[dict[str, Any]] = {
    "sinks": ["statsd"], "every_n": 1, "max_age": None, "max_bytes": HELD_MAX, "on_change": None, "on_stop": True,
    "counters": "raw",
}  # fmt: skip


@attrs.frozen(kw_only=True)
class Reporting:
    """Where samples go and when: after ``every_n`` runs, at ``max_age`` s, at ``max_bytes``, at the stop;
    ``on_change`` only if moved. ``also`` are those of other sinks, which have triggers of their own."""

    sinks: tuple[str, ...] = ("statsd",)
    every_n: int = 1
    max_age: float | None = None
    max_bytes: int = HELD_MAX
    on_change: float | None = None
    is_relative: bool = False
    on_stop: bool = True
    counters: str = "raw"
    also: tuple[Reporting, ...] = ()

    @property
    def all(self) -> tuple[Reporting, ...]:
        """Itself and those of other sinks."""
        return (self, *self.also)

    @property
    def all_sinks(self) -> Iterator[str]:
        """Every sink of any of them."""
        return (sink for one in self.all for sink in one.sinks)


def to_reporting(given: Any) -> Reporting:
    """From an object, or a list of them for sinks that are to be told at times of their own. Raises ValueError."""
    if isinstance(given, Mapping):
        return _one(given, "reporting")
    if not isinstance(given, list) or not given:
        raise ValueError(f"reporting must be an object, or a list of such, not {given!r:.40}")
    found = Gathered()
    parts = [found.of(_one, one, f"reporting/{number}") for number, one in enumerate(given)]
    found.tell()
    taken: dict[str, int] = {}
    for number, part in enumerate(parts):
        for sink in part.sinks:
            if taken.setdefault(sink, number) != number:
                text = f"{sink} is in reporting/{taken[sink]}, too: a sink is told at one's times"
                raise ValueError(f"reporting/{number}/sinks: {text}")
    return attrs.evolve(parts[0], also=tuple(parts[1:]))


def _one(given: Any, where: str) -> Reporting:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be an object, not {given!r:.40}")
    found = Gathered()
    found.of(check_known, given, DEFAULTS, f"{where}/")
    full = {**DEFAULTS, **given}
    found.of(_check_counters, full, where)
    for key, unit in (("every_n", "runs"), ("max_bytes", "bytes")):
        found.of(_check_count, full, key, unit, where)
    sinks = found.of(_names, full["sinks"], where)
    band, is_relative = found.of(_deadband, full["on_change"], where, otherwise=(None, False))
    max_age = found.of(to_seconds, full["max_age"], f"{where}/max_age")
    found.tell()
    return Reporting(
        sinks=sinks,
        every_n=full["every_n"],
        max_age=max_age,
        max_bytes=full["max_bytes"],
        on_change=band,
        is_relative=is_relative,
        on_stop=bool(full["on_stop"]),
        counters=full["counters"],
    )


def _check_counters(full: Mapping[str, Any], where: str) -> None:
    if full["counters"] not in COUNTERS:
        raise ValueError(f"{where}/counters must be {' or '.join(COUNTERS)}, not {full['counters']!r:.40}")


def _check_count(full: Mapping[str, Any], key: str, unit: str, where: str) -> None:
    if type(full[key]) is not int or full[key] < 1:
        raise ValueError(f"{where}/{key} must be 1 or more {unit}, not {full[key]!r:.40}")


def _names(given: Any, where: str) -> tuple[str, ...]:
    sinks = given.split(",") if isinstance(given, str) else given
    if not isinstance(sinks, list | tuple) or not all(isinstance(sink, str) for sink in sinks):
        raise ValueError(f"{where}/sinks must be a list of names, not {sinks!r:.40}")
    return tuple(sinks)


def _deadband(given: Any, where: str) -> tuple[float | None, bool]:
    """``0.5``, or ``5%`` of the value sent last; true is any change."""
    if given is None or given is False:
        return None, False
    if given is True:
        return 0.0, False
    text = str(given)
    try:
        band = float(text.removesuffix("%"))
    except ValueError:
        band = -1.0
    if not 0 <= band < float("inf"):
        raise ValueError(f"{where}/on_change must be a deadband such as 0.5 or 5%, not {given!r:.40}")
    return (band / 100, True) if text.endswith("%") else (band, False)


def to_seconds(given: Any, key: str) -> float | None:
    """A length of time of a record, None for none. Raises ValueError."""
    if given is None:
        return None
    read: Callable[[], float] = (
        partial(duration.parse_duration, given) if isinstance(given, str) else partial(float, given)
    )
    try:
        number = read()
    except (ValueError, TypeError, OverflowError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{key} must be a time such as 10 or 10s, not {given!r:.40}")
    return number


def check_known(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Raises Faults for keys that nobody knows, each with the nearest one."""
    faults = []
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            faults.append(f"{where}{key} is no key{f'; is {near[0]} meant?' if near else ''}")
    if faults:
        raise Faults(faults)
