"""Knows how to flood: each ``ask`` sends ``number=N`` requests to itself and as many events (1000), then answers."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler


class Flooding(BrokerModule):
    """Sends far more than it was asked for."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._number = 1000
        for arg in args:
            key, _, value = arg.partition("=")
            if key != "number" or not value.isdecimal():
                raise RequestError(
                    errnums.EINVAL, f"module {self.name!r}: argument {arg!r}; the only one is number=N"
                )
            self._number = int(value)

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        for at in range(self._number):
            self.handle.request(f"{self.name}.note", {"at": at})
            self.handle.publish(f"{self.name}.news", {"at": at})
        self.handle.respond(msg, {"sent": 2 * self._number})

    @request_handler("note")
    def note(self, msg: Message) -> None:
        """One of many."""
