"""Schedules of somebody's own, for tests: functions that give ticks, well or badly."""

from __future__ import annotations

import itertools
import sys


def bursts(params, now, random):
    """``count`` ticks a second apart, then ``rest`` seconds of nothing, for ever."""
    at = now
    while True:
        for number in range(params.get("count", 2)):
            yield at + number
        at += params.get("rest", 10)


def three(params, now, random):
    """No generator: it hears nothing."""
    return iter([now, now + 1, now + 2])


def chased(params, now, random):
    """Twice as soon after a reading above 5, twice as late after one that failed."""
    gap, at = 4.0, now
    while True:
        reading, _, ok = yield at
        gap = gap if ok and reading.get("value", 0) <= 5 else gap / 2 if ok else gap * 2
        at += gap


def falls(params, now, random):
    yield now
    yield now - 1


def words(params, now, random):
    yield now
    yield "noon"


def breaks(params, now, random):
    yield now
    raise RuntimeError("out of ticks")


def behind(params, now, random):
    while True:
        yield now - 1000


def draws(params, now, random):
    while True:
        now += 1 + random.random()
        yield now


NUMBER = 5


def one_for_ever(params, now, random):
    """The same tick, and no end."""
    return itertools.repeat(now + 0.5)


def leaves(params, now, random):
    """Would end whoever asks."""
    yield now + 0.3
    sys.exit(3)
