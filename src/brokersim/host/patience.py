"""Knows when a stream has been silent for too long; not what its answers mean."""

from __future__ import annotations

from brokersim.protocol.errnums import ETIMEDOUT
from brokersim.protocol.message import RESPONSE, Message
from brokersim.reactor.actor import Then, Timer
from brokersim.reactor.loop import NS
from brokersim.routing.endpoint import Endpoint


class Patience:
    """Passes a stream's answers on, and ends it with ETIMEDOUT after so many seconds (``timeout``) of silence.

    One timer a stream and not one a frame: it is set anew only when it finds that something has come since.
    """

    def __init__(self, endpoint: Endpoint, then: Then, timeout: float) -> None:
        self._endpoint = endpoint
        self._then = then
        self._timeout = timeout
        self._heard = 0
        self._request: Message
        self._timer: Timer

    def ask(self, topic: str, payload: object, arg: object, nodeid: int) -> Message:
        """Send the request; the timeout runs from now."""
        self._request = Endpoint.stream(self._endpoint, topic, payload, self._answered, arg, nodeid)
        self._heard = self._endpoint.reactor.now
        self._wait(self._timeout, arg)
        return self._request

    def _wait(self, seconds: float, arg: object) -> None:
        reactor = self._endpoint.reactor
        self._timer = reactor.call_later(seconds, self._check, arg, actor=self._endpoint)

    def _answered(self, response: Message, arg: object) -> None:
        self._heard = self._endpoint.reactor.now
        if response.errnum:
            self._timer.cancel()
        self._then(response, arg)

    def _check(self, arg: object) -> None:
        if self._request.matchtag not in self._endpoint.pending:
            return  # forgotten meanwhile
        left = self._timeout - (self._endpoint.reactor.now - self._heard) / NS
        if left > 0:
            self._wait(left, arg)
            return
        self._endpoint.forget(self._request)
        text = f"{self._request.topic}: silent for {self._timeout:g} s"
        self._then(Message(RESPONSE, self._request.topic, text, errnum=ETIMEDOUT), arg)
