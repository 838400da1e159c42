"""A request whose handler makes one rpc takes three turns, whatever the handler is written in, hooked or not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.program import open_instance, run
from tests.host.live import FIXTURES, live, write

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


@pytest.mark.parametrize(("hook", "packets"), [("prepare", 3), ("check", 2)])
def test_a_module_process_sends_as_many_packets_a_request(hook, packets, tmp_path):
    path = write(tmp_path, "asker", ASKER)

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
            target.bind(("127.0.0.1", 0))
            target.setblocking(False)
            stats = f"127.0.0.1:{target.getsockname()[1]}"
            async with open_instance(
                modules=["kinds"], module_path=[FIXTURES], clock="real", hook="timer:1h", stats=stats
            ) as instance:
                await instance.load(path, as_process=True)
                client = instance.client()
                await client.call("module.hook", {"name": "asker", "hook": hook})
                await client.call("asker.debug", {"op": "setbit", "flags": 0x1000})
                await client.call("asker.future")
                received(target)
                # One at a time: requests that wait share their turns with continuations.
                for _ in range(N):
                    await client.call("asker.future")
                # The last packet, or under check the last turn's, may be on its way, and one of before have been.
                assert abs(received(target) - N * packets) <= 1

    run(main, clock="real")


def received(target: socket.socket) -> int:
    count = 0
    try:
        while True:
            count += target.recv(2000).startswith(b"flux.asker.")
    except BlockingIOError:
        return count
