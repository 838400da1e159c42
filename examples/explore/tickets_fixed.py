"""The same without the race: what the look finds is taken at once, and given back if nothing comes of it."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler


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
        self.left -= 1
        number = self.left
        try:
            await self.handle.call("attr.get", {"name": "size"})
        except RequestError:
            self.left += 1
            raise
        self.handle.respond(msg, {"number": number})
