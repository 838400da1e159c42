"""Knows the far end of the exchange: it answers a load with the reference it was asked for. Stores nothing."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Sqlite(BrokerModule):
    @request_handler("load")
    def load(self, msg: Message) -> None:
        self.handle.respond(msg, {"data": msg.data["ref"]})
