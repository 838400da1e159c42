"""Knows what a reducer is: something that counts observations into a plain JSON state, and merges and finishes states.

A state is plain JSON, so a frame needs no coding of its own and an inner rank merges what it is sent without making
objects of it. The laws (tests/modules/metrics/test_reducers.py): the first state is neutral, merge is associative and
commutative, any tree of merges gives the same answer. Those marked with a guarantee hold it, not the state.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

from brokersim.brokermod import quoted

State = Any
#: Bytes of JSON that one state may take. What is beyond is given up, by name, before it makes a rank or a link suffer.
STATE_MAX = 1 << 20
TOO_LARGE: Mapping[str, bool] = {"too_large": True}


@attrs.define(eq=False)
class Origin:
    """Where observations are made: what `sample` and `last` have to know of it."""

    rank: int = 0
    random: random.Random = attrs.field(factory=random.Random)
    #: Wall-clock time in seconds.
    time: Callable[[], float] = lambda: 0.0
    serial: int = 0


class Counter(Protocol):
    """Counts the observations of one row on one rank."""

    def add(self, value: Any) -> None:
        """One more: a number, or (for reducers that take text) a text."""

    def state(self) -> State:
        """What has been counted."""


class Reducer:
    """One reducer with its parameters. Names of results are the reducer's own, beside them what qualifies them."""

    name = ""
    #: Reducers of the same kind of state share one in a row; the name itself where this is empty.
    state_name = ""
    #: A text is counted as itself; otherwise as 1.
    takes_text = False
    #: Its states are a few numbers: nobody need measure them.
    is_small = True
    #: Grows with each observation that is not negative (what a threshold can be watched for during an epoch).
    is_monotone = False
    #: The state of nothing at all.
    initial: State = None
    #: Parameters it has, with their defaults.
    defaults: Mapping[str, Any] = {}

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        """Raises ValueError for a parameter that cannot be."""

    def counter(self, origin: Origin) -> Counter:
        """A new one, without observations."""
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        """The state of what both have counted; neither is changed."""
        raise NotImplementedError

    def finish(self, state: State) -> dict[str, Any]:
        """What a row shows of it."""
        raise NotImplementedError

    def merged(self, a: State, b: State) -> State:
        """As ``merge``, for states that may be none or too large."""
        if a is None or b is None:
            return b if a is None else a
        if self.is_small:
            return self.merge(a, b)
        if a == TOO_LARGE or b == TOO_LARGE:
            return TOO_LARGE
        return self.bounded(self.merge(a, b))

    def bounded(self, state: State) -> State:
        """The state, or that it is too large."""
        return state if self.is_small or len(msgspec.json.encode(state)) <= STATE_MAX else TOO_LARGE

    def finished(self, state: State) -> dict[str, Any]:
        """As ``finish``, for states that may be none or too large."""
        if state == TOO_LARGE:
            return {self.name: None, f"{self.name}_too_large": True}
        return self.finish(self.initial if state is None else state)


def whole(params: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A parameter that is a whole number in a range. Raises ValueError."""
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}, not {quoted(value)}")
    return value


def share(params: Mapping[str, Any], name: str, most: float) -> float:
    """A parameter above 0 and at most ``most``. Raises ValueError."""
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ValueError(f"{name} is above 0 and at most {most:g}, not {quoted(value)}")
    return float(value)
