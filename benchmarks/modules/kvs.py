"""Knows the near end of the exchange: a lookup is one load from content. Knows no keys."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Kvs(BrokerModule):
    @request_handler("lookup")
    def lookup(self, msg: Message) -> None:
        self.handle.request("content.load", {"ref": msg.data["key"]}, self._found, msg)

    def _found(self, response: Message, request: Message) -> None:
        self.handle.respond(request, {"val": response.data["data"]})
