"""Knows which methods of a module class handle which topics: one table a class, shared by all its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from inspect import iscoroutinefunction

import attrs

_GLOB = frozenset("*?[")

SYNC, COROUTINE, TASK = "sync", "coroutine", "task"


@attrs.frozen(kw_only=True)
class Entry:
    """One decorated method: the topic, whether the module's name goes before it, and how it is run."""

    attribute: str
    topic: str
    prefix: bool
    is_event: bool
    allow_guest: bool = False
    kind: str = SYNC

    def full_topic(self, name: str) -> str:
        return f"{name}.{self.topic}" if self.prefix else self.topic

    def wants(self, name: str, topic: str) -> bool:
        """Whether the topic of an event is this one's, in a module of that name. Each job has topics of its own."""
        wanted = self.full_topic(name)
        if _GLOB.isdisjoint(wanted):
            return topic == wanted
        if wanted[-1] == "*" and _GLOB.isdisjoint(wanted[:-1]):
            return topic.startswith(wanted[:-1])
        return fnmatchcase(topic, wanted)


class HandlerTable:
    """The entries of one class. Later definitions of a topic replace those of base classes."""

    __slots__ = ("_full", "_globs", "_prefixed", "events")

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = tuple(entries)
        self.events = tuple(entry for entry in entries if entry.is_event)
        self._prefixed = {entry.topic: entry for entry in entries if not entry.is_event and entry.prefix}
        self._full = {entry.topic: entry for entry in entries if not entry.is_event and not entry.prefix}
        self._globs = tuple(entry for entry in entries if not entry.is_event and _GLOB & set(entry.topic))

    @property
    def is_empty(self) -> bool:
        return not (self.events or self._prefixed or self._full)

    def request(self, name: str, topic: str) -> Entry | None:
        """The entry for a request to the module loaded as ``name``."""
        entry = self._full.get(topic)
        if entry is None and topic.startswith(f"{name}."):
            entry = self._prefixed.get(topic[len(name) + 1 :])
        if entry is None and self._globs:
            entry = next((one for one in self._globs if fnmatchcase(topic, one.full_topic(name))), None)
        return entry

    def request_topics(self, name: str) -> list[str]:
        """The topics of requests that the module loaded as ``name`` handles."""
        return [*(f"{name}.{topic}" for topic in self._prefixed), *self._full]

    @classmethod
    def of(cls, written: type) -> HandlerTable:
        """The table of a class, from the marks its decorators left, base classes first."""
        entries: dict[str, Entry] = {}
        for base in reversed(written.__mro__):
            for attribute, value in vars(base).items():
                mark = getattr(value, MARK, None)
                if mark is not None:
                    topic, prefix, is_event, allow_guest = mark
                    entries[attribute] = Entry(
                        attribute=attribute, topic=topic, prefix=prefix, is_event=is_event,
                        allow_guest=allow_guest, kind=kind_of(value),
                    )  # fmt: skip
                elif attribute in entries:
                    del entries[attribute]  # overridden without a decorator: no handler any more
        return cls(entries.values())


#: Attribute that a decorator leaves on a function: (topic, prefix, is_event, allow_guest).
MARK = "_brokersim_handles"
TASK_MARK = "_brokersim_task"
EMPTY_TABLE = HandlerTable(())


def kind_of(fn: Callable[..., object]) -> str:
    """How a handler is run: at once, as a stepped coroutine, or as a trio task."""
    if getattr(fn, TASK_MARK, False):
        return TASK
    return COROUTINE if iscoroutinefunction(fn) else SYNC
