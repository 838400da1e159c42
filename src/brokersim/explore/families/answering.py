"""Knows how to answer with what it was asked: a module of the family `modules`."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Answering(BrokerModule):
    """Answers ``ask`` at once."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        self.handle.respond(msg, msg.payload)
