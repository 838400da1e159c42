"""Knows how a probe reaches the broker through its module's handle, and how all it waits for is given up.

Requests and timers, nothing else: the same in the broker's process, in one of its own, and in real Flux.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from brokersim.brokermod import NODEID_ANY, Handle, Message

from .contract import Asks
from .execution import Ended, Execution, Wish
from .worker import Worker

Done = Callable[[Any], None]


class Here(Asks):
    """One measurement's way to ask."""

    __slots__ = ("_count", "_handle", "_open", "rank")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.rank = handle.rank
        #: What is waited for: how it is taken back, and who is told.
        self._open: dict[int, tuple[Callable[[], object], Done]] | None = None
        self._count = 0

    @property
    def parent(self) -> int | None:
        return self._handle.parent

    def now(self) -> float:
        return self._handle.now()

    def call(self, topic: str, payload: Any = None, nodeid: int = NODEID_ANY) -> Awaitable[Any]:
        def start(done: Done) -> None:
            number = self._next()
            request = self._handle.request(topic, payload, self._answered, number, nodeid)
            self._waits()[number] = (lambda: self._handle.forget(request), done)

        return self._handle.occurrence(start)

    def sleep(self, seconds: float) -> Awaitable[None]:
        def start(done: Done) -> None:
            number = self._next()
            timer = self._handle.call_later(seconds, self._over, number, None)
            self._waits()[number] = (timer.cancel, done)

        return self._handle.occurrence(start)

    def run(self, command: Wish) -> Awaitable[Ended]:
        def start(done: Done) -> None:
            number = self._next()
            execution = Execution(self._handle, command, lambda value: self._over(number, value))
            self._waits()[number] = (execution.abandon, done)

        return self._handle.occurrence(start)

    def start(self, wish: Wish) -> Worker:
        return Worker(self._handle, wish)

    def line(self, worker: Worker) -> Awaitable[bytes]:
        def start(done: Done) -> None:
            number = self._next()
            # Who is not waited for any more is ended: its answer would be taken for the next one's.
            self._waits()[number] = (worker.end, done)
            worker.ask(lambda value: self._over(number, value))

        return self._handle.occurrence(start)

    def abandon(self, error: BaseException) -> None:
        """Whatever is waited for is taken back, and raises ``error`` where it is awaited."""
        waits, self._open = self._open or {}, None
        for cancel, done in waits.values():
            cancel()
            done(error)

    def _waits(self) -> dict[int, tuple[Callable[[], object], Done]]:
        """Made with the first: most probes never wait."""
        if self._open is None:
            self._open = {}
        return self._open

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _answered(self, response: Message, number: int) -> None:
        if response.errnum:
            self._over(number, response.error())
        else:
            self._over(number, response.data)

    def _over(self, number: int, value: Any) -> None:
        wait = self._waits().pop(number, None)
        if wait is not None:
            wait[1](value)
