"""A module that observes: how long its requests take, by who asked. Loaded on every rank, merged by the metrics module.

brokersim start -s 4
for rank in 0 1 2 3; do brokersim rpc --rank $rank module.load '{"path": "./examples/observing.py", "args": []}'; done
brokersim metrics add lat stream=observing.time apply=quantile,max
brokersim rpc -r 3 observing.work '{}'
brokersim metrics collect lat
"""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Observing(BrokerModule):
    """Works for a moment a request, and observes how long it took (s)."""

    @request_handler("work")
    async def work(self, msg: Message) -> None:
        begun = self.handle.now()
        await self.handle.sleep(0.01 * (1 + self.handle.rank))
        self.handle.observe("observing.time", {"rank": self.handle.rank}, self.handle.now() - begun)
        self.handle.respond(msg, {"rank": self.handle.rank})
