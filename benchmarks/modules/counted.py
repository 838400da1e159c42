"""Knows two ways to take a request: `count` lets its counters move, `quiet` puts them back. Both answer if asked."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Handle, Message, request_handler


class Counted(BrokerModule):
    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._counts = h.counts

    @request_handler("count")
    def count(self, msg: Message) -> None:
        self.handle.respond(msg)

    @request_handler("quiet")
    def quiet(self, msg: Message) -> None:
        # So a hook runs on every message and yet finds that nothing moved.
        self._counts[1] -= 1
        if msg.flags:
            return
        self.handle.respond(msg)
        self._counts[2] -= 1
