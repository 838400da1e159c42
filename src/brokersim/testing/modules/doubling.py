"""Knows how to say it twice: each ``ask`` is answered two times."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Doubling(BrokerModule):
    """Answers ``ask`` twice, the second time to nobody."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        self.handle.respond(msg, {"answer": 1})
        self.handle.respond(msg, {"answer": 2})
