"""A module whose every request brings others behind it, one at a time, as a submitted job does."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import BrokerModule, Message, request_handler


class Chain(BrokerModule):
    def __init__(self, h: Any, *args: str) -> None:
        super().__init__(h, *args)
        self.steps = 0
        self.ended = 0

    @request_handler("step")
    def step(self, msg: Message) -> None:
        self.steps += 1
        left = msg.payload["left"]
        if left:
            self.handle.request("chain.step", {"left": left - 1})
        else:
            self.ended += 1
