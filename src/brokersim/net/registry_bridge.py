"""Knows how a web server asks an instance for its registry: one connection for all questions; not what is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

import trio

from brokersim.net.client import Client, Unreachable
from brokersim.protocol.decoded import Json
from brokersim.protocol.message import FLAG_STREAMING

#: Seconds an answer of the instance may take; then the client is told, and may ask again.
PATIENCE: Final = 10.0
#: Seconds between two looks whether a watcher is still there.
_LOOK: Final = 1.0


class Refused(Exception):
    """An answer that is none: its status, and a text that says what would be right."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Bridge:
    """One connection to the instance for all questions, made when it is needed; a watcher has one of its own."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: Client | None = None
        self._lock = trio.Lock()

    async def ask(self, topic: str, payload: object) -> Json:
        """Raises RequestError; Refused if there is nobody to ask."""
        async with self._lock:
            try:
                return await trio.to_thread.run_sync(self._ask, topic, payload)
            except (Unreachable, TimeoutError) as error:
                self.close()
                raise Refused(503, f"the instance does not answer: {error}") from None

    def _ask(self, topic: str, payload: object) -> Json:
        if self._client is None or self._client.is_closed:
            self._client = Client.connect(self._uri, timeout=PATIENCE)
        return self._client.rpc(topic, payload)

    async def watch(self, payload: object) -> AsyncGenerator[Any]:
        """Changes as they come; None now and then, so that who reads sees that nobody listens any more."""
        client = await trio.to_thread.run_sync(partial(Client.connect, self._uri, timeout=PATIENCE))
        with client:
            tag = client.send_request("registry.watch", payload, flags=FLAG_STREAMING)
            while True:
                answer = await trio.to_thread.run_sync(client.recv_within, tag, _LOOK)
                if answer is not None and answer.errnum:
                    return
                yield None if answer is None else answer.unpack(dict[str, Any])

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
