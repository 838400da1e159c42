"""Knows the two threads behind the screen: one looks and does what keys ask for, one follows a module's messages.

Neither draws: each posts messages to the app. Neither waits for an instance longer than a slice without asking whether
it should go on, so the app's keys, and its end, never wait for an instance that does not answer.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from textual.message import Message

from brokersim.cli.top.plain import Pace, Watch
from brokersim.cli.top.rates import Change, Key, View
from brokersim.cli.top.read import SLICE, Follower, Reader, Stopped
from brokersim.net.client import Lost, Unreachable
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError, errname

#: Seconds without an answer after which the screen says so.
SILENCE: Final = 1.0
#: Messages handed to the screen at once: some screens full.
_BATCH: Final = 200

Post = Callable[[Message], object]


class Looked(Message):
    """A look was taken."""

    def __init__(self, view: View, history: tuple[float | None, ...]) -> None:
        super().__init__()
        self.view = view
        self.history = history


class Silent(Message):
    """The instance has not answered for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class Done(Message):
    """What a key asked for was done, or was refused with ``error``."""

    def __init__(self, change: Change, error: str = "") -> None:
        super().__init__()
        self.change = change
        self.error = error


class Over(Message):
    """There is nothing more to see: the count is reached, or ``error``."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error


class Traced(Message):
    """Messages of the module that is followed; ``end`` is why there will be no more."""

    def __init__(self, key: Key, entries: list[JsonObject], end: str = "") -> None:
        super().__init__()
        self.key = key
        self.entries = entries
        self.end = end


class Feed:
    """Takes looks at a pace, and in between does what is asked; ``run`` is a thread's whole life."""

    def __init__(
        self, reader: Reader, watch: Watch, interval: float, count: int | None, stopping: threading.Event
    ) -> None:
        self._reader = reader
        self._watch = watch
        self._pace = Pace(interval)
        self._left = count
        self._stopping = stopping
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()

    def ask(self, change: Change) -> None:
        """From any thread: do this next."""
        self._changes.put(change)

    def run(self, post: Post) -> None:
        """Until told to stop, or the instance ends."""

        def pause(waited: float) -> bool:
            if waited >= SILENCE:
                post(Silent(waited))
            return not self._stopping.is_set()

        self._reader.pause = pause
        try:
            while not self._stopping.is_set():
                self._turn(post)
        except Stopped:
            return
        except Exception as error:  # whatever it is, it ends the app, which raises it where it is told
            post(Over(error))

    def _turn(self, post: Post) -> None:
        try:
            change = self._changes.get(timeout=min(SLICE, max(0.0, self._pace.left())))
        except queue.Empty:
            if self._pace.left() <= 0:
                self._look(post)
        else:
            post(self._do(change))

    def _look(self, post: Post) -> None:
        self._pace.next()
        look = self._reader.look()
        if look is None:
            post(Silent(self._reader.patience))
            return
        is_first = not self._watch.has_begun
        post(Looked(self._watch.feed(look), tuple(self._watch.history)))
        if self._left is not None and not is_first:
            self._left -= 1
            if not self._left:
                post(Over(None))
                self._stopping.set()

    def _do(self, change: Change) -> Done:
        rank, name = change.key
        try:
            if change.bits:
                self._reader.set_bits(rank, name, change.bits, change.on)
            if change.hook is not None:
                self._reader.set_hook(rank, name, change.hook)
        except Unreachable:
            raise
        except RequestError as error:
            return Done(change, f"{error} ({errname(error.errno or 0)})")
        except TimeoutError as error:
            return Done(change, str(error))
        return Done(change)


class Trace:
    """Follows one module; ``run`` is a thread's whole life."""

    def __init__(self, uri: str, key: Key) -> None:
        self.key = key
        self._uri = uri
        self._stopping = threading.Event()

    def stop(self) -> None:
        """From any thread: within a slice it is over."""
        self._stopping.set()

    def run(self, post: Post) -> None:
        """Until told to stop, or the trace ends."""
        try:
            follower = Follower(self._uri, *self.key)
        except (Unreachable, TimeoutError) as error:
            post(Traced(self.key, [], str(error)))
            return
        try:
            while not self._stopping.is_set():
                entries = follower.take(_BATCH)
                if entries is None:
                    post(Traced(self.key, [], "the trace has ended"))
                    return
                if entries:
                    post(Traced(self.key, entries))
        except Lost:
            post(
                Traced(self.key, [], "the trace was cut: more came than could be read, or the instance ended")
            )
        except (RequestError, Unreachable) as error:
            post(Traced(self.key, [], str(error)))
        finally:
            follower.close()
