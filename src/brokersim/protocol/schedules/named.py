"""Knows schedules that are functions of somebody else's, named in a configuration; what they say is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final

import attrs
import msgspec

from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import Random, Schedule, Span

_NAME: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
#: Ticks in a row that have passed already, or that come to no millisecond: more of them are a mistake that would hold
#: whoever asks.
PAST_MAX: Final = 10_000


def is_name(text: str) -> bool:
    """``package.module:function``."""
    return _NAME.fullmatch(text) is not None


def load(name: str) -> Callable[..., Any]:
    """The function. Raises ValueError that says what is missing."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name}: {error}") from None
    if not callable(found):
        raise ValueError(f"{name} is no function")
    return found  # type: ignore[no-any-return]


class Said:
    """The ticks that a function says, one after the other; who has something to tell is heard if it is a generator.

    Raises ValueError for what is no tick: no finite number, earlier than the one before, or always in the past.
    """

    def __init__(self, name: str, ticks: object, now: float) -> None:
        self._name = name
        self._ticks: Any = iter(ticks)  # type: ignore[call-overload]
        self._last = -math.inf
        self._now = now
        self._past = 0
        #: The last tick that was a millisecond behind the one before.
        self._mark = -math.inf
        self._is_begun = False

    def __iter__(self) -> Iterator[Span]:
        return self

    def __next__(self) -> Span:
        self._is_begun = True
        return self._checked(self._asked(next, self._ticks)), math.inf

    def _asked(self, ask: Callable[..., object], *args: object) -> object:
        try:
            return ask(*args)
        except SystemExit as error:
            raise ValueError(f"{self._name} would end the process: {error}") from None

    @property
    def hears(self) -> bool:
        """Does it take what was read?"""
        return hasattr(self._ticks, "send")

    def tell(self, reading: JsonView, duration: float, ok: bool, now: float) -> float:
        """What a run read, how long it took (s), whether it went well: the next tick, inf for none any more."""
        self._now = now
        try:
            said = reading, duration, ok
            ticks = self._ticks
            return self._checked(
                self._asked(ticks.send, said) if self._is_begun else self._asked(next, ticks)
            )
        except StopIteration:
            return math.inf

    def _checked(self, tick: object) -> float:
        is_number = isinstance(tick, int | float) and not isinstance(tick, bool) and math.isfinite(tick)
        if not is_number or tick < self._last:  # type: ignore[operator]
            raise ValueError(
                f"{self._name} says {quoted(tick)} after {self._last:g}: ticks are numbers that never fall"
            )
        self._last = at = float(tick)  # type: ignore[arg-type]
        if at < self._now or at < self._mark + 1e-3:
            self._past += 1
        else:
            self._past, self._mark = 0, at
        if self._past > PAST_MAX:
            raise ValueError(f"{self._name} says {PAST_MAX} ticks in a row that have passed or are one")
        return at


def _written(given: object) -> str:
    if isinstance(given, str):
        return given  # as it was written before
    if not isinstance(given, Mapping):
        raise ValueError(f"params must be an object, not {quoted(given)}")
    return msgspec.json.encode(given, order="sorted").decode()


@attrs.frozen(kw_only=True)
class Named(Schedule):
    """``function(params, now, random)`` gives its ticks (s since the epoch): an iterator, or a generator that is sent
    ``(reading, duration, ok)`` after each run and answers with the next tick."""

    function: str
    #: Its parameters as JSON.
    written: str = attrs.field(default="{}", converter=_written)

    def __attrs_post_init__(self) -> None:
        load(self.function)

    @property
    def params(self) -> JsonObject:
        return msgspec.json.decode(self.written, type=dict[str, Any])

    def spans(self, now: float, random: Random) -> Said:
        return Said(self.function, load(self.function)(self.params, now, random), now)

    def to_dict(self) -> JsonObject:
        return self.params
