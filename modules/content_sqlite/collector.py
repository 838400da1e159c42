"""Knows when and how a store in memory lets go what no root of the kvs leads to; not what a root is.

Each commit makes its directories anew up to the root, so at 50 blobs a job memory would grow for ever. A file keeps
all, as flux-core's does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from brokersim.brokermod import Handle, Message, RequestError, blobref

from .memory import MemoryStore, refs_in

#: New blobs that make a look worth its while, and seconds between two looks at least: whoever reads below an old root
#: has that long (see `MemoryStore.let_go`), and so has a commit to come to its end.
NEW_MIN: Final = 20_000
INTERVAL: Final = 600.0
#: New blobs that make a look urgent, and the seconds between two looks then. Else memory would follow the rate of
#: commits, ten minutes of them twice over; so it does from 3,300 blobs a second on, of some 350 bytes each.
NEW_MANY: Final = 200_000
INTERVAL_MANY: Final = 60.0
#: Blobs looked at in one go: about 10 ms.
STEP: Final = 2000


class Reach:
    """What can be reached from some digests, a few at a time; what is reached is made whole."""

    def __init__(self, store: MemoryStore, roots: Iterable[bytes]) -> None:
        self._store = store
        self._left = list(roots)
        self.reached: set[bytes] = set()

    def step(self, count: int) -> bool:
        """Look at so many; whether that was all."""
        left, reached = self._left, self.reached
        while left and count:
            digest = left.pop()
            if digest not in reached:
                count -= 1
                reached.add(digest)
                left += refs_in(self._store.made_whole(digest))
        return not left


class Collector:
    """Asks the kvs for the roots of its namespaces when it is time, and has the store let go what none leads to."""

    def __init__(self, handle: Handle, store: MemoryStore, say: Callable[[str], object]) -> None:
        self._handle = handle
        self._store = store
        self._say = say
        self.new_min, self.interval = NEW_MIN, INTERVAL
        self.new_many, self.interval_many = NEW_MANY, INTERVAL_MANY
        self._last = handle.now()
        self._reached = 0
        self._is_busy = False
        self._roots: list[bytes] = []
        self._unanswered = 0

    def look(self) -> None:
        """Something was written: begin if it is time."""
        new = self._store.new
        if new < max(self.new_min, self._reached) or self._is_busy:
            return
        is_urgent = new >= max(self.new_many, self._reached)
        if self._handle.now() - self._last >= (self.interval_many if is_urgent else self.interval):
            self._is_busy = True
            self._handle.request("kvs.namespace-list", None, self._listed)

    def _listed(self, response: Message, _: object) -> None:
        if response.errnum:  # nobody knows the roots, so nothing goes
            self._end()
            return
        names = [one["namespace"] for one in response.data["namespaces"]]
        self._roots, self._unanswered = [], len(names)
        for name in names:
            self._handle.request("kvs.getroot", {"namespace": name}, self._rooted)
        if not names:
            self._end()

    def _rooted(self, response: Message, _: object) -> None:
        if not response.errnum:  # else the namespace has gone meanwhile
            self._roots.append(blobref.digest(response.data["rootref"]))
        self._unanswered -= 1
        if not self._unanswered:
            self._step(Reach(self._store, [*self._roots, *self._store.holders()]))

    def _step(self, reach: Reach) -> None:
        if not reach.step(STEP):
            self._handle.call_later(0.0, self._step, reach)
            return
        try:
            self._store.flush()
        except RequestError:
            self._end()  # said by whoever wrote it first
            return
        gone = self._store.let_go(reach.reached)
        self._reached = len(reach.reached)
        self._say(f"let go {gone} blobs that no root leads to; {len(self._store)} are left")
        self._end()

    def _end(self) -> None:
        self._is_busy = False
        self._last = self._handle.now()
