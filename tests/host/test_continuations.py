"""A request whose handler makes one rpc takes three turns, whatever the handler is written in, hooked or not."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.instance import Instance
from tests.host.live import live, write

ASKER = """
    @request_handler("callback")
    def callback(self, msg):
        self.handle.request("kinds.sync", {}, self._answered, msg)

    def _answered(self, response, msg):
        self.handle.respond(msg, {})

    @request_handler("future")
    def future(self, msg):
        self.handle.rpc("kinds.sync", {}).then(lambda done: self.handle.respond(msg, {}))

    @request_handler("step")
    async def step(self, msg):
        await self.handle.call("kinds.sync", {})
        self.handle.respond(msg, {})

    @trio_task
    @request_handler("task")
    async def task(self, msg):
        await self.handle.call("kinds.sync", {})
        self.handle.respond(msg, {})

    @request_handler("plain")
    def plain(self, msg):
        self.handle.respond(msg, {})
"""
N = 20


def measured(tmp_path: Any, method: str, hook: str) -> tuple[float, float]:
    """Turns and packets of one request."""
    path, found = write(tmp_path, "asker", ASKER), []

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client, handle = instance.client(), instance.broker(0).module("asker")
        if hook:
            handle.set_mask(0x1000)
            assert handle.instrument is not None
            handle.instrument.use(hook)
        await client.call(f"asker.{method}")
        turns, packets = handle.iterations, handle.instrument.packets if handle.instrument else 0
        for _ in range(N):
            await client.call(f"asker.{method}")
        now = handle.instrument.packets if handle.instrument else 0
        found.append(((handle.iterations - turns) / N, (now - packets) / N))

    live(body, "kinds")
    return found[0]


@pytest.mark.parametrize("method", ["callback", "future", "step"])
def test_with_one_rpc_it_takes_three_turns_which_prepare_shows_all_and_check_two_of(tmp_path, method):
    assert measured(tmp_path, method, "")[0] == 3
    assert measured(tmp_path, method, "prepare") == (3, 3)
    assert measured(tmp_path, method, "check") == (3, 2)


def test_a_trio_task_turns_as_often_but_what_it_sends_lies_between_turns_and_shows_in_the_next(tmp_path):
    assert measured(tmp_path, "task", "prepare") == (3, 2)
    assert measured(tmp_path, "task", "check") == (3, 3)


def test_without_it_takes_one(tmp_path):
    for hook in ("", "prepare", "check"):
        assert measured(tmp_path, "plain", hook) == (1, 1 if hook else 0)
