"""A counter whose `add` reads, asks for permission, and writes: two of them at one time lose one."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Racing(BrokerModule):
    """Counts in two steps, with a question between them."""

    def __init__(self, h, *args):
        super().__init__(h, *args)
        self.total = 0
        self.added = 0

    @request_handler("add")
    async def add(self, msg: Message) -> None:
        before = self.total
        await self.handle.call("attr.get", {"name": "size"})
        self.total = before + 1
        self.added += 1
        self.handle.respond(msg, {"total": self.total})

    @request_handler("total")
    def tell(self, msg: Message) -> None:
        self.handle.respond(msg, {"total": self.total})


def explore(world):
    """What may be asked of it, and what must hold."""
    world.may("racing.add")
    world.may("racing.total")

    @world.always
    def adds_up(broker):
        racing = broker.module("racing")
        assert racing.total == racing.added, f"{racing.added} were added, and the total is {racing.total}"
