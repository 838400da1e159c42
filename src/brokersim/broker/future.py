"""Knows Flux's Future: an RPC whose answer is asked for later or handed to a callback."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brokersim.broker.waits import error_of
from brokersim.protocol.errnums import EDEADLK, RequestError
from brokersim.protocol.message import FLAG_STREAMING, Message, decode_json

if TYPE_CHECKING:
    from brokersim.broker.handle import Handle


class Future:
    """The answer, or the stream of answers, to one RPC (flux-core's Python ``Future``)."""

    def __init__(self, handle: Handle, topic: str, payload: Any, nodeid: int, flags: int) -> None:
        self._responses: deque[Message] = deque()
        self._then: tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]] | None = None
        self._handle = handle
        self.topic = topic
        if flags & FLAG_STREAMING or not flags:
            handle.request(topic, payload, self._arrived, None, nodeid, flags)
        else:
            handle.request(topic, payload, None, None, nodeid, flags)

    def _arrived(self, response: Message, _: None) -> None:
        self._responses.append(response)
        if self._then is not None:
            callback, args, kwargs = self._then
            callback(self, *args, **kwargs)

    def then(self, callback: Callable[..., object], *args: Any, **kwargs: Any) -> Future:
        """Call ``callback(future, *args, **kwargs)`` for each answer, those already here included."""
        self._then = (callback, args, kwargs)
        for _ in range(len(self._responses)):
            callback(self, *args, **kwargs)
        return self

    def is_ready(self) -> bool:
        """An answer is here."""
        return bool(self._responses)

    def reset(self) -> None:
        """Drop the answer in hand: the next ``get`` is about the next one of the stream."""
        if self._responses:
            self._responses.popleft()

    def get(self) -> Any:
        """The payload of the answer as JSON, ``None`` if it has none.

        Raises RequestError (an OSError) if it is an error, and EDEADLK if it is not here yet: a handler
        cannot block the loop that would deliver it.
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
        if not self._responses:
            text = "no answer yet, and waiting here would stop the loop that delivers it; use then() or await call()"
            raise RequestError(EDEADLK, f"{self.topic}: {text}")
        response = self._responses[0]
        if response.errnum:
            raise error_of(response)
        return response

    @property
    def is_ended(self) -> bool:
        """The last answer in hand ends the stream (errnum 61) or is an error."""
        return bool(self._responses) and self._responses[-1].errnum != 0
