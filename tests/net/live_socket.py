"""Knows how to talk bytes to a live instance's socket from the same trio run. Real time, nothing waits by the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

import brokersim
from brokersim.instance import Instance
from brokersim.net.connector import Connector
from brokersim.protocol.message import EVENT, NODEID_ANY, REQUEST, RESPONSE, Message
from brokersim.protocol.wire import FrameDecoder, encode

FIXTURES = Path(__file__).parents[1] / "host" / "fixture_modules"


class Peer:
    """A raw client: frames or any bytes out, messages in."""

    def __init__(self, stream: trio.SocketStream, hello: bytes) -> None:
        self.stream = stream
        self.hello = hello
        self.decoder = FrameDecoder()
        self.inbox: list[Message] = []
        self.bytes_in = b""
        self.tag = 0

    @classmethod
    async def connect(cls, path: Path) -> Peer:
        stream = await trio.open_unix_socket(str(path))
        return cls(stream, await stream.receive_some(1))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> Message | None:
        """The next message, None at the end of the stream."""
        while not self.inbox:
            data = await self.stream.receive_some(1 << 20)
            if not data:
                return None
            self.bytes_in += data
            self.inbox += self.decoder.feed(data)
        return self.inbox.pop(0)

    async def post(
        self, topic: str, payload: Any = None, flags: int = 0, tag: int | None = None, **fields: Any
    ) -> int:
        """Send a request; returns its matchtag."""
        if tag is None:
            self.tag = tag = self.tag + 1
        fields = {"nodeid": NODEID_ANY, **fields}
        await self.send(encode(Message(REQUEST, topic, payload, flags | 0x08, matchtag=tag, **fields)))
        return tag

    async def ask(self, topic: str, payload: Any = None, **fields: Any) -> Message:
        """A request and the next message, which must be its answer."""
        tag = await self.post(topic, payload, **fields)
        answer = await self.receive()
        assert answer is not None, f"{topic}: the stream ended"
        assert (answer.type, answer.topic, answer.matchtag) == (RESPONSE, topic, tag)
        return answer

    async def publish(self, topic: str, payload: Any = None) -> None:
        await self.send(encode(Message(EVENT, topic, payload, 0x08)))

    async def until_end(self) -> None:
        """Read whatever comes until the other side closes."""
        try:
            while await self.receive() is not None:
                pass
        except trio.BrokenResourceError:
            pass  # closed with data of ours unread

    async def close(self) -> None:
        await self.stream.aclose()


class Live:
    """A live instance with its sockets."""

    def __init__(self, instance: Instance, connector: Connector, folder: Path) -> None:
        self.instance = instance
        self.connector = connector
        self.folder = folder

    async def peer(self, rank: int = 0) -> Peer:
        return await Peer.connect(self.folder / f"local-{rank}")

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until something is so."""
        with trio.fail_after(20):
            while not condition():
                await trio.lowlevel.checkpoint()


def serve(
    folder: Path,
    body: Callable[[Live], Awaitable[None]],
    *modules: str,
    clock: str = "real",
    seconds: float = 30.0,
    **settings: Any,
) -> None:
    """Run ``await body(live)`` beside a served instance, for so long at most."""

    async def main() -> None:
        with trio.fail_after(seconds if clock == "real" else 1e12):
            async with brokersim.open_instance(
                modules=modules, module_path=[FIXTURES], clock=clock, **settings
            ) as instance:
                connector = Connector(instance, folder)
                connector.listen()
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(connector.serve)
                        await body(Live(instance, connector, folder))
                        nursery.cancel_scope.cancel()
                finally:
                    connector.close()

    brokersim.run(main, clock=clock)
