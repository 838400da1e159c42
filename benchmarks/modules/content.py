"""Knows the middle of the exchange: it passes a load on and the answer back. Keeps nothing."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Content(BrokerModule):
    @request_handler("load")
    def load(self, msg: Message) -> None:
        self.handle.request("content-sqlite.load", {"ref": msg.data["ref"]}, self._loaded, msg)

    def _loaded(self, response: Message, request: Message) -> None:
        self.handle.respond(request, {"data": response.data["data"]})
