"""Commands that were asked for in this very instant: known by their labels, and not there yet."""

from __future__ import annotations

import errno

import pytest
import trio

import brokersim
from brokersim.protocol.message import Message

WAITABLE = 16


@pytest.mark.parametrize("topic", ["rexec.wait", "rexec.attach"])
def test_a_command_that_is_being_started_is_neither_waited_for_nor_attached_to(topic: str) -> None:
    async def main() -> Message:
        async with brokersim.open_instance(modules=(), clock="real") as instance:
            client = instance.client()
            refused: list[Message] = []
            is_started, is_answered = trio.Event(), trio.Event()

            def answered(response: Message, _: object) -> None:
                refused.append(response)
                is_answered.set()

            cmd = {"cmdline": ["sleep", "100"], "label": "slow"}
            client.request("rexec.exec", {"cmd": cmd, "flags": WAITABLE}, lambda *_: is_started.set())
            ask = client.stream if topic == "rexec.attach" else client.request
            ask(topic, {"pid": -1, "label": "slow", "flags": 0}, answered)
            with trio.fail_after(20):
                await is_answered.wait()
                await is_started.wait()
            await client.call("rexec.kill", {"pid": -1, "label": "slow", "signum": 9})
            return refused[0]

    response = brokersim.run(main, clock="real")
    assert (response.errnum, response.payload_str) == (errno.EBUSY, "subprocess is being started")
