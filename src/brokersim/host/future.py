"""Knows Flux's Future: an RPC whose answer is asked for later or handed to a callback."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from brokersim.host.blocking import wait_for_answer
from brokersim.host.callee import Callee
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import EINVAL, ETIMEDOUT, RequestError
from brokersim.protocol.message import FLAG_STREAMING, RESPONSE, Message, decode_json
from brokersim.reactor.actor import AT_ONCE


class Future:
    """The answer, or the stream of answers, to one RPC (flux-core's Python ``Future``)."""

    def __init__(self, handle: Callee, topic: str, payload: object, nodeid: int, flags: int) -> None:
        self._responses: deque[Message] = deque()
        self._then: tuple[Callable[..., object], tuple[object, ...], JsonObject] | None = None
        self._handle = handle
        self.topic = topic
        then = self._arrived if flags & FLAG_STREAMING or not flags else None
        self._request = handle.request(topic, payload, then, AT_ONCE, nodeid, flags)

    def _arrived(self, response: Message, _: object) -> None:
        self._responses.append(response)
        self._handle.wakeups -= (
            1  # a response counts for a turn of its continuation, too; see what becomes of that
        )
        if self._then is not None:
            self._handle.fulfilled(self._call, response)

    def _call(self) -> None:
        assert self._then is not None
        callback, args, kwargs = self._then
        self._handle.enter(partial(callback, self, *args, **kwargs))

    def then(self, callback: Callable[..., object], *args: object, **kwargs: object) -> Future:
        """Call ``callback(future, *args, **kwargs)`` for each answer, those already here included.

        Always in the module's next turn: neither inside this call nor in the turn in which an answer comes.
        """
        self._then = (callback, args, kwargs)
        for _ in self._responses:
            self._handle.next_turn(self._call)
        return self

    def is_ready(self) -> bool:
        """An answer is here."""
        return bool(self._responses)

    def reset(self) -> None:
        """Drop the answer in hand: the next ``get`` is about the next one of the stream."""
        if self._responses:
            self._responses.popleft()

    def wait_for(self, timeout: float = -1.0) -> Future:
        """Wait until an answer is here, at most ``timeout`` seconds (negative: no limit).

        Raises RequestError: ETIMEDOUT; EDEADLK as ``get`` does.
        """
        if not self._responses:
            if self._request.is_noresponse:
                raise RequestError(EINVAL, f"{self.topic}: sent without response, so none will come")
            wait_for_answer(self._handle, self._request, self.is_ready, timeout)
        return self

    def get(self) -> Json:
        """The payload of the answer as JSON, ``None`` if it has none; waits for it if need be.

        Meanwhile the module is blocked and all others go on. Raises RequestError (an OSError): the error answered;
        EDEADLK where nothing can wait (a coroutine, a program's task), or would for ever.
        """
        response = self._answer()
        if isinstance(response.data, bytes):
            return decode_json(self.topic, response.data)
        return response.data

    def get_str(self) -> str | None:
        """The payload of the answer as text."""
        return self._answer().payload_str

    def get_raw(self) -> bytes:
        """The payload of the answer as bytes."""
        return self._answer().raw

    def _answer(self) -> Message:
        self.wait_for()
        response = self._responses[0]
        if response.errnum:
            raise response.error()
        return response

    @property
    def latest(self) -> Message | None:
        """The answer in hand, if there is one: of a stream the first not dropped."""
        return self._responses[0] if self._responses else None

    def check(self) -> None:
        """Raises RequestError if the answer in hand is an error."""
        response = self.latest
        if response is not None and response.errnum:
            raise response.error()

    def cancel_by(self, topic: str) -> None:
        """Ask for the end of the stream by its matchtag, as kvs-watch and job-info take it."""
        self._handle.request(topic, {"matchtag": self._request.matchtag})

    def expire_after(self, timeout: float) -> None:
        """Answer it with ETIMEDOUT if no answer came within ``timeout`` seconds."""
        self._handle.call_later(timeout, self._expire, timeout)

    def _expire(self, timeout: float) -> None:
        if not self._responses:
            text = f"{self.topic}: no answer within {timeout:g} s"
            self._handle.wakeups += 1  # no response was counted
            self._arrived(Message(RESPONSE, self.topic, text, errnum=ETIMEDOUT), None)

    @property
    def is_ended(self) -> bool:
        """The last answer in hand ends the stream (errnum 61) or is an error."""
        return bool(self._responses) and self._responses[-1].errnum != 0
