"""A module with a race: it sells tickets, and asks for their price between its look at the stock and the sale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler

if TYPE_CHECKING:
    from brokersim.explore.author import Author


class Tickets(BrokerModule):
    """Sells three tickets."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self.left = 3

    @request_handler("buy")
    async def buy(self, msg: Message) -> None:
        """One ticket; ENOSPC when there is none left."""
        if self.left == 0:
            raise RequestError(errnums.ENOSPC, "sold out")
        # Stands for the price, which another service knows.
        await self.handle.call("attr.get", {"name": "size"})
        self.left -= 1
        self.handle.respond(msg, {"number": self.left})


def explore(world: Author) -> None:
    """For `brokersim explore tickets.py`: clients buy, and never is more sold than there was."""
    world.may("tickets.buy")

    @world.always
    def stock(broker: Any) -> None:
        left = broker.module("tickets").left
        assert left >= 0, f"{left} tickets are left"
