"""Knows what a handler or task can await of the broker: an answer, a delay, an end of something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.protocol.message import NODEID_ANY, Message
from brokersim.reactor.actor import Timer
from brokersim.reactor.step import Resume, Wait
from brokersim.routing.endpoint import Endpoint


class Call(Wait):
    """An RPC to await: returns the response's payload (dict, bytes or None), raises RequestError."""

    __slots__ = ("_endpoint", "_flags", "_nodeid", "_payload", "_request", "_resume", "_topic")

    def __init__(
        self, endpoint: Endpoint, topic: str, payload: object, nodeid: int = NODEID_ANY, flags: int = 0
    ) -> None:
        super().__init__(endpoint.reactor)
        self._endpoint = endpoint
        self._topic = topic
        self._payload = payload
        self._nodeid = nodeid
        self._flags = flags
        self._request: Message | None = None
        self._resume: Resume | None = None

    def begin(self, resume: Resume) -> None:
        self._resume = resume
        self._request = self._endpoint.request(
            self._topic, self._payload, _answered, resume, nodeid=self._nodeid, flags=self._flags
        )

    def abandon(self) -> None:
        """A late answer finds no open request and is counted as stray."""
        if self._request is not None:
            self._endpoint.forget(self._request)


def _answered(response: Message, resume: Resume) -> None:
    if response.errnum:
        resume(None, response.error())
    else:
        resume(response.data, None)


class Sleep(Wait):
    """A delay to await, in seconds of the reactor's clock; an iteration of its actor's loop when it ends."""

    __slots__ = ("_endpoint", "_seconds", "_timer")

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        super().__init__(endpoint.reactor)
        self._endpoint = endpoint
        self._seconds = seconds
        self._timer: Timer | None = None

    def begin(self, resume: Resume) -> None:
        self._timer = self.reactor.call_later(self._seconds, resume, None, None, actor=self._endpoint)

    def abandon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Occurrence(Wait):
    """Something that ends by a callback: ``start(done)`` is called once, ``done(value)`` or ``done(error)`` ends it."""

    __slots__ = ("_start",)

    def __init__(self, endpoint: Endpoint, start: Callable[[Callable[[Any], None]], object]) -> None:
        super().__init__(endpoint.reactor)
        self._start = start

    def begin(self, resume: Resume) -> None:
        def done(value: object) -> None:
            if isinstance(value, BaseException):
                resume(None, value)
            else:
                resume(value, None)

        self._start(done)
