"""Two event handlers, one log line: the module whose counters flux-core's documentation gives."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import BrokerModule, Message, event_handler, request_handler


class Fresh(BrokerModule):
    def __init__(self, h: Any, *args: str) -> None:
        super().__init__(h, *args)
        self.log.info("loaded")

    @event_handler("one")
    def one(self, msg: Message) -> None:
        pass

    @event_handler("two")
    def two(self, msg: Message) -> None:
        pass

    @request_handler("info")
    def info(self, msg: Message) -> None:
        self.handle.respond(msg, {"args": list(self.args), "name": self.name})
