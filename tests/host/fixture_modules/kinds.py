"""One module with every kind of handler; `ask` walks from rank to rank and kind to kind."""

from __future__ import annotations

from typing import Any

import trio

from brokersim.brokermod import (
    BrokerModule,
    Message,
    RequestError,
    errnums,
    event_handler,
    request_handler,
    trio_task,
)


class Kinds(BrokerModule):
    def __init__(self, h: Any, *args: str) -> None:
        super().__init__(h, *args)
        self.held: list[Message] = []
        self.heard: list[tuple[str, Any]] = []
        self.torn_down = False

    @request_handler("sync")
    def sync(self, msg: Message) -> None:
        self.handle.respond(msg, {"kind": "sync", "rank": self.handle.rank, "now": self.handle.now()})

    @request_handler("step")
    async def step(self, msg: Message) -> None:
        await self.handle.sleep(0.25)
        answer = await self.handle.call(f"{self.name}.sync")
        self.handle.respond(msg, {"kind": "step", "now": self.handle.now(), "inner": answer["kind"]})

    @request_handler("task")
    @trio_task
    async def task(self, msg: Message) -> None:
        await trio.sleep(0.25 + self.handle.random.random() / 100)
        answer = await self.handle.call(f"{self.name}.step")
        self.handle.publish("kinds.done", {"rank": self.handle.rank})
        self.handle.respond(msg, {"kind": "task", "inner": answer["kind"]})

    @request_handler("walk")
    @trio_task
    async def walk(self, msg: Message) -> None:
        """Ask every rank, with a random pause before each."""
        for rank in range(self.handle.size):
            await self.handle.sleep(self.handle.random.random())
            self.handle.request("kinds.note", {"from": self.handle.rank}, nodeid=rank)
            await self.handle.call("kinds.task", nodeid=rank)
        self.handle.respond(msg)

    @request_handler("burst")
    @trio_task
    async def burst(self, msg: Message) -> None:
        """Wake together with others, and send without waiting in between."""
        await trio.sleep(1.0)
        self.handle.request("kinds.note", {"from": msg.payload["as"]}, nodeid=0)
        self.handle.publish("kinds.done", {"rank": msg.payload["as"]})
        self.handle.respond(msg)

    @request_handler("note")
    def note(self, msg: Message) -> None:
        self.heard.append(("note", msg.payload["from"]))

    @request_handler("hold")
    def hold(self, msg: Message) -> None:
        """Never answered, unless `release` is asked."""
        self.held.append(msg)

    @request_handler("release")
    def release(self, msg: Message) -> None:
        for held in self.held:
            self.handle.respond(held, {"released": True})
        self.handle.respond(msg, {"count": len(self.held)})
        self.held.clear()

    @request_handler("count")
    def count(self, msg: Message) -> None:
        """A stream of as many answers as asked for, then its end."""
        for number in range(msg.payload["to"]):
            self.handle.respond(msg, {"number": number})
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("twice")
    def twice(self, msg: Message) -> None:
        self.handle.respond(msg, {"first": True})
        self.handle.respond(msg, {"second": True})

    @request_handler("refuse")
    def refuse(self, msg: Message) -> None:
        raise RequestError(errnums.EINVAL, "not like this")

    @request_handler("guests", allow_guest=True)
    def guests(self, msg: Message) -> None:
        self.handle.respond(msg, {"userid": msg.userid, "rolemask": msg.rolemask})

    @event_handler("kinds.done", prefix=False)
    def done(self, msg: Message) -> None:
        self.heard.append((msg.topic, msg.payload["rank"]))

    @event_handler("news")
    def news(self, msg: Message) -> None:
        self.heard.append((msg.topic, msg.seq))

    @request_handler("disconnect")
    def disconnect(self, msg: Message) -> None:
        self.heard.append(("disconnect", msg.sender))

    def teardown(self) -> None:
        self.torn_down = True
