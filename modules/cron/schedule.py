"""Knows when an entry is due: intervals, counted events, cron expressions, one moment; not timers or what is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, Protocol

import attrs

from brokersim.brokermod import check_glob, schedules

from .fields import Fields, to_fields

#: A timer that fires at once for ever would be load, not a schedule.
INTERVAL_MIN: Final = 0.001
#: Event counts beyond this are a mistake.
COUNT_MAX: Final = 1 << 31


class Schedule(Protocol):
    """What every type of entry has. Times are seconds since the epoch; ``next_wakeup`` is None when no timer is due."""

    next_wakeup: float | None

    def start(self, now: float) -> None:
        """Begin, or begin anew."""

    def stop(self) -> None:
        """No more wake-ups."""

    def fired(self, now: float) -> None:
        """The wake-up came; find the next."""

    def typedata(self) -> dict[str, Any]:
        """What lists show of it."""


@attrs.define(eq=False, kw_only=True)
class Interval:
    """Every ``interval`` seconds, first ``after`` seconds from the start. A late one is not made up for by a burst.

    An interval of 0 comes once, after ``after``.
    """

    interval: float
    after: float
    next_wakeup: float | None = None
    #: Where the grid begins, and how many intervals are behind: a million additions of 0.1 would be 1.3 µs off.
    _begun: float = attrs.field(default=0.0, init=False)
    _count: int = attrs.field(default=0, init=False)

    def start(self, now: float) -> None:
        self.next_wakeup = self._begun = now + self.after
        self._count = 0

    def stop(self) -> None:
        self.next_wakeup = None

    def fired(self, now: float) -> None:
        self._count += 1
        due = self._begun + self._count * self.interval
        if due < now:  # late by an interval or more: it comes now, and the grid begins anew
            due = self._begun = now
            self._count = 0
        self.next_wakeup = due if self.interval else None

    def typedata(self) -> dict[str, Any]:
        return {"interval": self.interval, "after": self.after, "next_wakeup": self.next_wakeup or 0.0}


@attrs.define(eq=False, kw_only=True)
class OnEvent:
    """On the ``after``-th event of a topic and each ``nth`` from there, at least ``min_interval`` seconds apart.

    A run that comes too early is put off to the end of the interval; events until then are only counted.
    """

    topic: str
    nth: int = 0
    after: int = 0
    min_interval: float = 0.0
    counter: int = 0
    is_started: bool = False
    next_wakeup: float | None = None

    def start(self, now: float) -> None:
        self.counter = 0
        self.is_started = True

    def stop(self) -> None:
        self.is_started = False
        self.next_wakeup = None

    def event(self, now: float, last_run: float) -> bool:
        """Count one event; True if the entry is to run now."""
        if not self.is_started:
            return False
        self.counter += 1
        if self.next_wakeup is not None or self.counter < self.after:
            return False
        if self.nth and (self.counter - self.after) % self.nth:
            return False
        remaining = self.min_interval - (now - last_run)
        # flux-core's tolerance: an event a few microseconds early is in time.
        if self.min_interval and remaining > 1e-5:
            self.next_wakeup = now + remaining
            return False
        return True

    def fired(self, now: float) -> None:
        self.next_wakeup = None

    def typedata(self) -> dict[str, Any]:
        counts = {"nth": self.nth, "after": self.after, "counter": self.counter}
        return {"topic": self.topic, **counts, "min_interval": self.min_interval}


@attrs.define(eq=False, kw_only=True)
class Calendar:
    """At the times of a cron expression, in local time or UTC."""

    expression: str
    is_utc: bool
    next_wakeup: float | None = None

    def start(self, now: float) -> None:
        self.next_wakeup = self._following(now)

    def stop(self) -> None:
        self.next_wakeup = None

    def fired(self, now: float) -> None:
        due = now if self.next_wakeup is None else self.next_wakeup
        self.next_wakeup = self._following(max(due, now))

    def typedata(self) -> dict[str, Any]:
        return {"expression": self.expression, "next_wakeup": self.next_wakeup or 0.0}

    def _following(self, now: float) -> float | None:
        where = UTC if self.is_utc else schedules.LOCAL
        return next(schedules.fires(self.expression, now, where), None)


@attrs.define(eq=False, kw_only=True)
class OnFields:
    """Whenever all time units agree, in local time or UTC (flux-core's form; :class:`Calendar` is ours)."""

    fields: Fields
    is_utc: bool
    next_wakeup: float | None = None

    def start(self, now: float) -> None:
        self.next_wakeup = self.fields.following(now, self.is_utc)

    def stop(self) -> None:
        self.next_wakeup = None

    def fired(self, now: float) -> None:
        due = now if self.next_wakeup is None else self.next_wakeup
        self.next_wakeup = self.fields.following(max(due, now), self.is_utc)

    def typedata(self) -> dict[str, Any]:
        return {"next_wakeup": self.next_wakeup or 0.0, **self.fields.to_dict()}


@attrs.define(eq=False, kw_only=True)
class Once:
    """Once, at ``time``; a time that has passed is now."""

    time: float
    next_wakeup: float | None = None

    def start(self, now: float) -> None:
        self.next_wakeup = max(self.time, now)

    def stop(self) -> None:
        self.next_wakeup = None

    def fired(self, now: float) -> None:
        self.next_wakeup = None

    def typedata(self) -> dict[str, Any]:
        return {"time": self.time, "next_wakeup": self.next_wakeup or 0.0}


# -- from the arguments of cron.create


def to_schedule(kind: str, args: Mapping[str, Any], is_utc: bool) -> Schedule:
    """The schedule of a cron.create request. Raises ValueError that names the argument and what would be right."""
    make = TYPES.get(kind)
    if make is None:
        raise ValueError(f"unknown type {kind!r:.40}; there are {', '.join(TYPES)}")
    return make(args, is_utc)


def _interval(args: Mapping[str, Any], _is_utc: bool) -> Interval:
    interval = _number(args, "interval", None)
    after = _number(args, "after", interval)
    if interval < INTERVAL_MIN and not (interval == 0 and after):
        text = "interval must be a number of seconds, 0.001 or more, or 0 with an after"
        raise ValueError(f"{text}, not {interval:g}")
    return Interval(interval=interval, after=after)


def _event(args: Mapping[str, Any], _is_utc: bool) -> OnEvent:
    topic = args.get("topic")
    if not isinstance(topic, str) or not topic:
        raise ValueError(f"event: topic must be the topic of an event, not {topic!r:.40}")
    return OnEvent(
        topic=check_glob(topic),
        nth=_count(args, "nth"),
        after=_count(args, "after"),
        min_interval=_number(args, "min_interval", 0.0),
    )


def _datetime(args: Mapping[str, Any], is_utc: bool) -> Calendar | OnFields:
    if "expression" not in args:
        return OnFields(fields=to_fields(args), is_utc=is_utc)
    expression = args["expression"]
    try:
        schedules.check_expression(expression)
    except ValueError as error:
        raise ValueError(f"datetime: {error}") from None
    return Calendar(expression=expression, is_utc=is_utc)


def _at(args: Mapping[str, Any], _is_utc: bool) -> Once:
    return Once(time=_number(args, "time", None))


def _number(args: Mapping[str, Any], key: str, default: float | None) -> float:
    value = args.get(key, default)
    if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{key} must be a number of seconds, 0 or more, not {value!r:.40}")
    return float(value)


def _count(args: Mapping[str, Any], key: str) -> int:
    value = args.get(key, 0)
    if type(value) is not int or not 0 <= value < COUNT_MAX:
        raise ValueError(f"{key} must be a count of events, 0 or more, not {value!r:.40}")
    return value


TYPES: Final[dict[str, Callable[[Mapping[str, Any], bool], Schedule]]] = {
    "interval": _interval,
    "event": _event,
    "datetime": _datetime,
    "at": _at,
}
