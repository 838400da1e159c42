"""Knows how a client lives by the clock of its instance: real, scaled or virtual; not what it waits for.

A virtual clock moves only while a client waits for an answer, so whoever wants its time to pass has to ask for that
(``broker.wait``): ten simulated hours of job arrivals then take as long as their jobs take to be worked off.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from brokersim.net.client import Client
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import RESPONSE, Message
from brokersim.protocol.settings import ClockKind


class InstanceClock:
    """Seconds of an instance's clock, from when this was made on. Every wait heeds the client's deadline."""

    def __init__(self, client: Client) -> None:
        self._client = client
        try:
            self._kind = ClockKind.parse(client.rpc("attr.get", {"name": "clock"})["value"])
        except RequestError:  # a peer without that attribute is real Flux
            self._kind = ClockKind(1.0)
        self._start = time.monotonic()
        self._reached = self._wait(0.0) if self._kind.is_virtual else 0.0
        self._zero = self._reached

    def now(self) -> float:
        """Under a virtual clock as of the last wait: asking anew would cost a request."""
        if self._kind.is_virtual:
            return self._reached - self._zero
        return (time.monotonic() - self._start) * self._kind.speed

    def sleep_until(self, when: float) -> None:
        """Return at ``when``, or at once if that is past. Raises TimeoutError at the client's deadline."""
        if when <= self.now():
            return
        if self._kind.is_virtual:
            self._reached = self._wait(self._zero + when)
            return
        until, limit = self._real(when), self._client.limits.deadline
        time.sleep(max(0.0, min(until, until if limit is None else limit) - time.monotonic()))
        if limit is not None and limit < until:
            raise TimeoutError

    def receive_until(
        self, when: float, take: Callable[[Message], object], is_enough: Callable[[], bool] = lambda: False
    ) -> None:
        """Hand messages to ``take`` until ``when``, or until it is enough."""
        if self._kind.is_virtual:
            self._receive_virtual(when, take, is_enough)
            return
        with self._client.limits.until(self._real(when)):
            while not is_enough():
                take(self._client.recv())

    def _receive_virtual(
        self, when: float, take: Callable[[Message], object], is_enough: Callable[[], bool]
    ) -> None:
        if is_enough():
            return
        tag = self._client.send_request("broker.wait", {"until": self._zero + when})
        while not is_enough():
            message = self._client.recv()
            if message.type == RESPONSE and message.matchtag == tag:
                self._reached = _now(message.payload)
                return
            take(message)
        self._client.abandon(tag)

    def _wait(self, until: float) -> float:
        return _now(self._client.rpc("broker.wait", {"until": until}))

    def _real(self, when: float) -> float:
        """That moment by time.monotonic."""
        return self._start + when / self._kind.speed


def _now(answer: Json) -> float:
    return float(answer["now"])
