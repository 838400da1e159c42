"""Knows which entries wait for which event, by the topics they name; not what becomes of one that came."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .entry import Entry


class Awaited:
    """Entries by the plain part of the topic they wait for, then by the whole of it, which may be a glob.

    An event asks for the parts its topic begins with, and each glob once: a million entries that wait for something
    else cost it nothing.
    """

    __slots__ = ("_by_prefix",)

    def __init__(self) -> None:
        self._by_prefix: dict[str, dict[str, dict[int, Entry]]] = {}

    def add(self, topic: str, entry: Entry) -> str | None:
        """One more waits for a topic; the part to be subscribed to, if nobody has waited for such."""
        prefix = plain_part(topic)
        by_topic = self._by_prefix.get(prefix)
        is_new = by_topic is None
        if by_topic is None:
            by_topic = self._by_prefix[prefix] = {}
        by_topic.setdefault(topic, {})[entry.id] = entry
        return prefix if is_new else None

    def remove(self, topic: str, entry: Entry) -> str | None:
        """It waits no more; the part that nobody waits for now, if there is one."""
        prefix = plain_part(topic)
        by_topic = self._by_prefix[prefix]
        del by_topic[topic][entry.id]
        if not by_topic[topic]:
            del by_topic[topic]
        if by_topic:
            return None
        del self._by_prefix[prefix]
        return prefix

    def for_event(self, topic: str) -> list[Entry]:
        """Those that wait for it, oldest first."""
        found: list[Entry] = []
        for end in range(len(topic) + 1):
            by_topic = self._by_prefix.get(topic[:end])
            for pattern, entries in by_topic.items() if by_topic is not None else ():
                if fnmatchcase(topic, pattern):
                    found += entries.values()
        return sorted(found, key=_by_age)


def _by_age(entry: Entry) -> int:
    return entry.id


def plain_part(topic: str) -> str:
    """The part before a glob's first special character: what can be subscribed to."""
    for at, char in enumerate(topic):
        if char in "*?[":
            return topic[:at]
    return topic
