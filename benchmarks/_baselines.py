"""Knows the plainest way to do each job in Python, which the figures are put in relation to. Not brokersim."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from brokersim.protocol.message import REQUEST, RESPONSE, Message


def deque_loop(count: int) -> None:
    """b1: two actors that throw a message at each other by a deque and a dict; ``count`` messages."""
    fifo: deque[tuple[str, Any]] = deque()

    def ping(payload: Any) -> None:
        fifo.append(("pong", payload))

    def pong(payload: Any) -> None:
        fifo.append(("ping", payload))

    handlers = {"ping": ping, "pong": pong}
    fifo.append(("ping", {"n": 1}))
    popleft = fifo.popleft
    for _ in range(count):
        topic, payload = popleft()
        handlers[topic](payload)


@attrs.define
class Envelope:
    """A message as one writes it for a program of one's own."""

    type: int
    topic: str
    data: Any
    matchtag: int
    src: Party


class Party:
    """One end of the exchange on asyncio: a queue, a task, open requests by matchtag, counters.

    It counts, matches, looks up who serves a topic and calls what brokersim's modules do. Written as asyncio's own
    documentation has it: ``await put``, ``await get``, coroutines as handlers.
    """

    def __init__(self, served: dict[str, Party]) -> None:
        self.served = served
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.counts = [0] * 8
        self.pending: dict[int, tuple[Callable[[Any, Any], Any], Any]] = {}
        self.tag = 0
        self.handler: Callable[[Any], Any] = lambda _: None

    async def request(self, topic: str, data: Any, then: Callable[..., Any], arg: Any) -> None:
        self.counts[0] += 1
        self.tag += 1
        self.pending[self.tag] = (then, arg)
        await self.served[topic].queue.put(
            Envelope(type=REQUEST, topic=topic, data=data, matchtag=self.tag, src=self)
        )

    async def respond(self, request: Envelope, data: Any) -> None:
        self.counts[2] += 1
        response = Envelope(
            type=RESPONSE, topic=request.topic, data=data, matchtag=request.matchtag, src=self
        )
        await request.src.queue.put(response)

    async def run(self) -> None:
        while True:
            message = await self.queue.get()
            self.counts[message.type] += 1
            if message.type == REQUEST:
                await self.handler(message)
            else:
                then, arg = self.pending.pop(message.matchtag)
                await then(message, arg)


async def asyncio_chain(exchanges: int, window: int) -> float:
    """CPU ns per message of ``exchanges`` of six messages each, ``window`` of them in flight."""
    served: dict[str, Party] = {}
    client, kvs, content, sqlite = parties = [Party(served) for _ in range(4)]
    served |= {"kvs.lookup": kvs, "content.load": content, "content-sqlite.load": sqlite}
    unsent = unanswered = exchanges
    ended = asyncio.Event()

    async def load(request: Envelope) -> None:
        await sqlite.respond(request, {"data": request.data["ref"]})

    async def load_through(request: Envelope) -> None:
        await content.request("content-sqlite.load", {"ref": request.data["ref"]}, loaded, request)

    async def loaded(response: Envelope, request: Envelope) -> None:
        await content.respond(request, {"data": response.data["data"]})

    async def look_up(request: Envelope) -> None:
        await kvs.request("content.load", {"ref": request.data["key"]}, found, request)

    async def found(response: Envelope, request: Envelope) -> None:
        await kvs.respond(request, {"val": response.data["data"]})

    async def send() -> None:
        nonlocal unsent
        unsent -= 1
        await client.request("kvs.lookup", {"key": "a.b"}, answered, None)

    async def answered(_response: Envelope, _arg: None) -> None:
        nonlocal unanswered
        unanswered -= 1
        if unsent:
            await send()
        elif not unanswered:
            ended.set()

    sqlite.handler, content.handler, kvs.handler = load, load_through, look_up
    return await _timed(parties, send, min(window, exchanges), ended) / exchanges / 6


class LeanParty(Party):
    """The same squeezed: no coroutine but the queue's ``get``, and brokersim's own message object."""

    def send(self, topic: str, data: Any, then: Callable[..., Any], arg: Any) -> None:
        self.counts[0] += 1
        self.tag += 1
        self.pending[self.tag] = (then, arg)
        self.served[topic].queue.put_nowait(Message(REQUEST, topic, data, 0, self.tag, src=self))

    def answer(self, request: Message, data: Any) -> None:
        self.counts[2] += 1
        request.src.queue.put_nowait(Message(RESPONSE, request.topic, data, 0, request.matchtag, src=self))

    async def run(self) -> None:
        while True:
            message = await self.queue.get()
            self.counts[message.type] += 1
            if message.type == REQUEST:
                self.handler(message)
            else:
                then, arg = self.pending.pop(message.matchtag)
                then(message, arg)


async def lean_asyncio_chain(exchanges: int, window: int) -> float:
    """CPU ns per message, as ``asyncio_chain``."""
    served: dict[str, Party] = {}
    client, kvs, content, sqlite = parties = [LeanParty(served) for _ in range(4)]
    served |= {"kvs.lookup": kvs, "content.load": content, "content-sqlite.load": sqlite}
    unsent = unanswered = exchanges
    ended = asyncio.Event()

    def load_through(request: Message) -> None:
        content.send("content-sqlite.load", {"ref": request.data["ref"]}, loaded, request)

    def loaded(response: Message, request: Message) -> None:
        content.answer(request, {"data": response.data["data"]})

    def look_up(request: Message) -> None:
        kvs.send("content.load", {"ref": request.data["key"]}, found, request)

    def found(response: Message, request: Message) -> None:
        kvs.answer(request, {"val": response.data["data"]})

    def send() -> None:
        nonlocal unsent
        unsent -= 1
        client.send("kvs.lookup", {"key": "a.b"}, answered, None)

    def answered(_response: Message, _arg: None) -> None:
        nonlocal unanswered
        unanswered -= 1
        if unsent:
            send()
        elif not unanswered:
            ended.set()

    async def first() -> None:
        send()

    sqlite.handler = lambda request: sqlite.answer(request, {"data": request.data["ref"]})
    content.handler, kvs.handler = load_through, look_up
    return await _timed(parties, first, min(window, exchanges), ended) / exchanges / 6


async def _timed(
    parties: Sequence[Party], send: Callable[[], Awaitable[None]], window: int, ended: asyncio.Event
) -> int:
    """CPU ns from the first send to ``ended``."""
    tasks = [asyncio.create_task(party.run()) for party in parties]
    started = time.process_time_ns()
    for _ in range(window):
        await send()
    await ended.wait()
    spent = time.process_time_ns() - started
    for task in tasks:
        task.cancel()
    return spent


@contextmanager
def udp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A receiver on loopback with a large buffer, and a non-blocking sender connected to it."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.setblocking(False)
        sender.connect(receiver.getsockname())
        yield receiver, sender


def empty(receiver: socket.socket) -> int:
    """Read all that waits; the number of packets."""
    packets = 0
    try:
        while True:
            receiver.recv(2048)
            packets += 1
    except BlockingIOError:
        return packets


@contextmanager
def echo(size: int) -> Iterator[Callable[[int], list[float]]]:
    """b4: a blocking echo of ``size`` bytes in a process of its own, over AF_UNIX.

    Gives a function that makes ``count`` round trips and returns the seconds of each. A child of a pinned
    process shares its CPU.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        try:
            while data := theirs.recv(65536):
                theirs.sendall(data)
        finally:
            os._exit(0)
    theirs.close()
    data = b"x" * size

    def round_trips(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            started = time.perf_counter()
            ours.sendall(data)
            left = size
            while left:
                left -= len(ours.recv(65536))
            taken.append(time.perf_counter() - started)
        return taken

    try:
        yield round_trips
    finally:
        ours.close()
        os.waitpid(child, 0)
