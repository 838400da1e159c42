"""Knows the two ways a test talks to an instance: a handle in process, or a real Unix socket. Not what is asked."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import trio

from brokersim.host.handle import Handle
from brokersim.instance import Instance
from brokersim.net.connector import Connector
from brokersim.protocol.errnums import ENODATA, EPERM, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_STREAMING,
    NODEID_ANY,
    REQUEST,
    RESPONSE,
    Message,
    decode_json,
)
from brokersim.protocol.wire import FrameDecoder, encode
from brokersim.routing.endpoint import Handler
from brokersim.services.broker import Broker

Heard = Callable[[Message], object]
_READ = 1 << 16


class Caller(Protocol):
    """What a test asks through."""

    async def call(self, topic: str, payload: object, nodeid: int) -> Any: ...

    async def stream(
        self, topic: str, payload: object, nodeid: int, each: Callable[[Any], object]
    ) -> None: ...

    async def publish(self, topic: str, payload: object) -> None: ...

    async def subscribe(self, prefix: str) -> None: ...


class Listening(Handle):
    """A client's handle that tells of the events it is given."""

    __slots__ = ("heard",)

    broker: Broker

    def __init__(self, broker: Broker, heard: Heard) -> None:
        super().__init__(broker, "client", broker.instance.identities.uuid(broker.rank, "client"))
        self.heard = heard
        broker.add_endpoint(self)

    def event_handler(self, topic: str) -> Handler:
        return self.heard


class HandleCaller:
    """In process: messages are passed as they are."""

    def __init__(self, handle: Listening) -> None:
        self._handle = handle

    async def call(self, topic: str, payload: object, nodeid: int) -> Any:
        return await self._handle.call(topic, payload, nodeid)

    async def stream(self, topic: str, payload: Any, nodeid: int, each: Callable[[Any], object]) -> None:
        def start(done: Callable[[Any], None]) -> None:
            def answered(response: Message, _: object) -> None:
                if not response.errnum:
                    each(response.data)
                elif response.errnum == ENODATA:
                    done(None)
                else:
                    done(response.error())

            self._handle.stream(topic, payload, answered, None, nodeid)

        await self._handle.occurrence(start)

    async def publish(self, topic: str, payload: object) -> None:
        self._handle.publish(topic, payload)

    async def subscribe(self, prefix: str) -> None:
        self._handle.broker.subscribe(prefix, self._handle)


class SocketCaller:
    """Over the socket: what any client of the instance does, one connection."""

    def __init__(self, stream: trio.SocketStream, heard: Heard) -> None:
        self._stream = stream
        self._heard = heard
        self._tag = 0
        self._waiting: dict[int, Callable[[Message], object]] = {}

    async def read(self) -> None:
        """Hand out what comes, until the connection is closed."""
        decoder = FrameDecoder()
        async for data in self._stream:
            for message in decoder.feed(bytes(data)):
                if message.type == EVENT:
                    self._heard(message)
                elif message.type == RESPONSE and message.matchtag in self._waiting:
                    self._waiting[message.matchtag](message)

    async def call(self, topic: str, payload: object, nodeid: int) -> Any:
        answers: list[Message] = []
        await self._exchange(topic, payload, nodeid, 0, answers.append)
        return _data(answers[0])

    async def stream(self, topic: str, payload: object, nodeid: int, each: Callable[[Any], object]) -> None:
        def answered(response: Message) -> None:
            if response.errnum != ENODATA:
                each(_data(response))

        await self._exchange(topic, payload, nodeid, FLAG_STREAMING, answered)

    async def _exchange(
        self, topic: str, payload: object, nodeid: int, flags: int, answered: Callable[[Message], object]
    ) -> None:
        self._tag = tag = self._tag + 1
        ended = trio.Event()
        failures: list[RequestError] = []

        def take(response: Message) -> None:
            try:
                answered(response)
            except RequestError as error:
                failures.append(error)
            if response.errnum or not flags & FLAG_STREAMING:
                ended.set()

        self._waiting[tag] = take
        try:
            await self._stream.send_all(encode(Message(REQUEST, topic, payload, flags, tag, nodeid=nodeid)))
            await ended.wait()
        finally:
            del self._waiting[tag]
        if failures:
            raise failures[0]

    async def publish(self, topic: str, payload: object) -> None:
        await self._stream.send_all(encode(Message(EVENT, topic, payload)))

    async def subscribe(self, prefix: str) -> None:
        await self.call("event.subscribe", {"topic": prefix}, NODEID_ANY)


def _data(response: Message) -> object:
    """What the same answer would be in process: a JSON object, bytes, or None. Raises RequestError."""
    if response.errnum:
        raise response.error()
    data = response.data
    if isinstance(data, bytes) and data.startswith(b"{") and data.endswith(b"\0"):
        return decode_json(response.topic, data)
    return data


@asynccontextmanager
async def in_process(instance: Instance, heard: Heard) -> AsyncIterator[Caller]:
    """A handle on rank 0."""
    handle = Listening(instance.broker(0), heard)
    try:
        yield HandleCaller(handle)
    finally:
        handle.close()


@asynccontextmanager
async def over_socket(instance: Instance, heard: Heard) -> AsyncIterator[Caller]:
    """A connection to a socket that the instance listens on for as long."""
    folder = Path(tempfile.mkdtemp(prefix="brokersim-"))
    connector = Connector(instance, folder)
    connector.listen()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connector.serve)
            client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await client.connect(str(folder / "local-0"))
            stream = trio.SocketStream(client)
            if await stream.receive_some(1) != b"\0":
                raise RequestError(EPERM, "the connector refuses this user")
            caller = SocketCaller(stream, heard)
            nursery.start_soon(caller.read)
            # The connector lets time move while a client waits for an answer; this client's sleeps count as well. Not
            # before it was taken in: nobody slept then.
            instance.runner.may_jump = lambda: True
            try:
                yield caller
            finally:
                nursery.cancel_scope.cancel()
                client.close()
    finally:
        instance.runner.may_jump = None
        instance.runner.is_settled = lambda: True
        connector.close()
        shutil.rmtree(folder, ignore_errors=True)


#: Names of ``--brokersim-transport``.
TRANSPORTS = {"memory": in_process, "unix": over_socket, "socket": over_socket}
