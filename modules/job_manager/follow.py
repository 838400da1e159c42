"""Knows how one eventlog is followed through the KVS: look-ups, whole lines, the end; not who asked for it."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, TypeAlias

from brokersim.brokermod import Handle, Message, errnums

from .eventlog import split_lines, whole_size
from .messages import Setroot

#: Called with each whole line, newline included.
OnLine: TypeAlias = Callable[[str], object]
#: Called once at the end: errnum 61 when the log cannot grow any more, else what went wrong.
OnEnd: TypeAlias = Callable[[int], object]

SETROOT = "kvs.namespace-"


def value_bytes(answer: dict[str, Any]) -> bytes:
    """The value in an answer of kvs.lookup."""
    return binascii.a2b_base64(answer["val"]["data"])


class Follower:
    """One key of one namespace: a look-up at the start and one for each setroot that names the key.

    That is what flux-core's kvs-watch does, so it makes the same traffic. Lines go out once each, in order.
    A log that is not there (and needn't be: ``must_exist`` false) is awaited; else that is the end, errnum 2.
    """

    __slots__ = (
        "_handle", "_must_exist", "_on_end", "_on_line", "_open", "_sent", "_vanished", "is_done", "key",
        "namespace",
    )  # fmt: skip

    def __init__(
        self, handle: Handle, namespace: str, key: str, on_line: OnLine, on_end: OnEnd, *, must_exist: bool
    ) -> None:
        self._handle = handle
        self._must_exist = must_exist
        self.namespace = namespace
        self.key = key
        self._on_line = on_line
        self._on_end = on_end
        self._sent = 0
        self._open = 0
        self._vanished = False
        self.is_done = False

    def look(self) -> None:
        """Ask for the log; its new lines go out when the answer is there."""
        self._open += 1
        wish = {"key": self.key, "namespace": self.namespace, "flags": 0}
        self._handle.request("kvs.lookup", wish, self._looked)

    def vanish(self) -> None:
        """The namespace was removed: the log ends when the look-ups under way are answered."""
        self._vanished = True
        if not self._open:
            self.end(errnums.ENODATA)

    def end(self, errnum: int) -> None:
        """Stop, and say so; once."""
        if not self.is_done:
            self.is_done = True
            self._on_end(errnum)

    def drop(self) -> None:
        """Stop without a word: nobody listens any more."""
        self.is_done = True

    def _looked(self, response: Message, _arg: None) -> None:
        self._open -= 1
        if self.is_done:
            return
        if not response.errnum:
            self._emit(value_bytes(response.payload))
        elif response.errnum != errnums.ENOENT or self._must_exist:
            self.end(response.errnum)
            return
        if self._vanished and not self._open:
            self.end(errnums.ENODATA)

    def _emit(self, log: bytes) -> None:
        size = whole_size(log)
        if size <= self._sent:
            return
        lines = split_lines(log, self._sent)
        self._sent = size
        for line in lines:
            self._on_line(line)
            if self.is_done:
                return


class Followers:
    """All followers by namespace and key, and one subscription a namespace while anybody follows in it."""

    __slots__ = ("_by_namespace", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._by_namespace: dict[str, dict[str, list[Follower]]] = {}

    def start(self, follower: Follower) -> None:
        """Begin to follow. The subscription comes first, so that no setroot falls between it and the look-up."""
        keys = self._by_namespace.get(follower.namespace)
        if keys is None:
            keys = self._by_namespace[follower.namespace] = {}
            self._handle.event_subscribe(f"{SETROOT}{follower.namespace}-")
            self._handle.request(
                "kvs.getroot", {"namespace": follower.namespace}, self._namespace_there, follower.namespace
            )
        keys.setdefault(follower.key, []).append(follower)
        follower.look()

    def stop(self, follower: Follower) -> None:
        """Forget a follower that is done."""
        keys = self._by_namespace.get(follower.namespace, {})
        left = [one for one in keys.get(follower.key, ()) if one is not follower]
        if left:
            keys[follower.key] = left
            return
        keys.pop(follower.key, None)
        if not keys and self._by_namespace.pop(follower.namespace, None) is not None:
            self._handle.event_unsubscribe(f"{SETROOT}{follower.namespace}-")

    def _namespace_there(self, response: Message, namespace: str) -> None:
        """flux-core's namespace monitor asks for the root first; without a namespace nobody need wait for events."""
        if response.errnum:
            for follower in self._in(namespace):
                follower.end(response.errnum)

    def _in(self, namespace: str) -> list[Follower]:
        return [one for same in self._by_namespace.get(namespace, {}).values() for one in same]

    def event(self, event: Message) -> None:
        """A KVS event: ``kvs.namespace-NS-setroot`` or ``-removed``; others change no log.

        Raises RequestError for an event that is none of the KVS's.
        """
        namespace, _, what = event.topic.removeprefix(SETROOT).rpartition("-")
        keys = self._by_namespace.get(namespace)
        if keys is None:
            return
        if what == "setroot":
            for key in event.unpack(Setroot).keys:
                for follower in tuple(keys.get(key, ())):
                    follower.look()
        elif what == "removed":
            for follower in self._in(namespace):
                follower.vanish()

    def __len__(self) -> int:
        return sum(len(same) for keys in self._by_namespace.values() for same in keys.values())
