"""Knows who on a rank listens to which stream of observations; not what becomes of an observation.

While nobody listens, ``handle.observe`` is a function that does nothing, put where the method would be: what observes
costs a call and no look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

#: Called with the key and the value of one observation. It must not raise.
Tap = Callable[[Any, Any], object]
Observe = Callable[..., object]


def unobserved(stream: str, key: Any, value: Any = 1) -> None:
    """What `observe` is while nobody listens on this rank."""


class Observer(Protocol):
    """Whoever observes: a module's handle."""

    observe: Observe


class Observers:
    """The streams of a rank and their listeners."""

    __slots__ = ("_all", "_found", "_taps", "observe")

    def __init__(self, observers: Callable[[], Iterable[Observer]]) -> None:
        self._all = observers
        self._taps: list[tuple[str, Tap, object]] = []
        self._found: dict[str, Tap] = {}
        #: What a handle's ``observe`` is at this moment.
        self.observe: Observe = unobserved

    def listen(self, stream: str, tap: Tap, owner: object) -> Callable[[], None]:
        """Give a stream's observations to ``tap`` until what this returns is called, or its owner goes."""
        entry = (stream, tap, owner)
        self._taps.append(entry)
        self._changed()
        return partial(self._drop, lambda one: one is entry)

    def drop(self, owner: object) -> None:
        """An owner goes, and what it listened with."""
        if any(one[2] is owner for one in self._taps):
            self._drop(lambda one: one[2] is owner)

    def _drop(self, is_gone: Callable[[tuple[str, Tap, object]], bool]) -> None:
        self._taps = [one for one in self._taps if not is_gone(one)]
        self._changed()

    def _changed(self) -> None:
        by_stream: dict[str, list[Tap]] = {}
        for stream, tap, _ in self._taps:
            by_stream.setdefault(stream, []).append(tap)
        self._found = {
            stream: taps[0] if len(taps) == 1 else partial(_tell_all, taps)
            for stream, taps in by_stream.items()
        }
        self.observe = self._observe if self._found else unobserved
        for one in self._all():
            one.observe = self.observe

    def _observe(self, stream: str, key: Any, value: Any = 1) -> None:
        tap = self._found.get(stream)
        if tap is not None:
            tap(key, value)


def _tell_all(taps: list[Tap], key: Any, value: Any) -> None:
    for tap in taps:
        tap(key, value)
