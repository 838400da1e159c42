"""Several callbacks of a module fall due at one instant, and each waits for an answer: one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.instance import Instance
from tests.host.live import live, write

SLOW = """
    @request_handler("wait")
    async def wait(self, msg):
        await self.handle.sleep(msg.payload["seconds"])
        self.handle.respond(msg, msg.payload)
"""
TOGETHER = """
    def __init__(self, h, *args):
        super().__init__(h, *args)
        self.order = []
    def wait(self, name):
        self.order.append([name, self.handle.now()])
        if name == "b":
            self.kept[3].stop()
        self.handle.rpc("slow.wait", {"seconds": 1}).get()
        self.order.append([name.upper(), self.handle.now()])
    @request_handler("timers")
    def timers(self, msg):
        if msg.payload["hooked"]:
            self.hook = self.handle.prepare_watcher_create(lambda *_: None).start()
        self.kept = [
            self.handle.timer_watcher_create(1.0, lambda *_, name=name: self.wait(name)).start() for name in "abcd"
        ]
    @request_handler("order")
    def told(self, msg):
        self.handle.respond(msg, {"order": list(self.order)})
"""


@pytest.mark.parametrize("hooked", [False, True])
def test_timers_that_fall_due_together_wait_for_one_that_waits(tmp_path: Path, hooked: bool) -> None:
    slow, together = write(tmp_path, "slow", SLOW), write(tmp_path, "together", TOGETHER)

    async def body(instance: Instance) -> None:
        client = instance.client()
        client.request("together.timers", {"hooked": hooked})
        await instance.sleep(1.5)
        # A message in between is held too, and handed out before the timers.
        found = await client.call("together.order")
        assert found["order"] == [["a", 1.0], ["A", 2.0]]
        await instance.sleep(10)
        found = await client.call("together.order")
        # The fourth was stopped by the second, while it waited to be called.
        assert found["order"][2:] == [["b", 2.0], ["B", 3.0], ["c", 3.0], ["C", 4.0]]
        assert instance.broker(0).log.lines() == []

    live(body, slow, together)
