"""Knows how to leak matchtags: each ``ask`` opens a stream to itself that is never ended."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Leaking(BrokerModule):
    """Holds one matchtag more after each ``ask``."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        self.handle.stream(f"{self.name}.follow", None, self._news)
        self.handle.respond(msg)

    @request_handler("follow")
    def follow(self, msg: Message) -> None:
        self.handle.respond(msg, {"first": True})

    def _news(self, response: Message, _arg: None) -> None:
        """More than the first never comes."""
