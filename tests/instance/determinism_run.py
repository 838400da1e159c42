"""One run of three ranks with all three kinds of handler; prints its whole trace. A process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import trio

import brokersim
from brokersim.host.handle import Handle
from brokersim.protocol.message import Message
from brokersim.routing.trace import payload_size


class RunTrace:
    """Every message of a run as a line of text; equal seeds give equal bytes under the virtual clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def wants(self, name: str) -> bool:
        return True

    def record(self, direction: str, actor: Any, message: Message) -> None:
        self.lines.append(
            f"{actor.reactor.now} {actor.broker.rank} {actor.name} {direction} {message.type_str} {message.topic} "
            f"{message.errnum} {message.seq} {payload_size(message)}"
        )

    def to_bytes(self) -> bytes:
        return "\n".join(self.lines).encode()


async def walk(client: Handle) -> None:
    await client.call("kinds.walk")


async def main(seed: int) -> bytes:
    folder = Path(__file__).parents[1] / "host" / "fixture_modules"
    trace = RunTrace()
    async with brokersim.open_instance(
        size=3, seed=seed, modules=["heartbeat", "kinds"], module_path=[folder], hook="check", stats="mem:"
    ) as instance:
        for rank in range(3):
            instance.broker(rank).add_trace(trace)
        clients = [instance.client(rank) for rank in range(3)]
        for rank in range(3):
            await clients[rank].call("kinds.debug", {"op": "setbit", "flags": 0x1000})
        async with trio.open_nursery() as nursery:
            for client in clients:
                for _ in range(2):
                    nursery.start_soon(walk, client)
        await instance.sleep(5.0)
        packets = [f"{at!r} {packet!r}" for at, packet in instance.sink.packets]
    return b"\n".join([trace.to_bytes(), *(line.encode() for line in packets)])


if __name__ == "__main__":
    sys.stdout.buffer.write(brokersim.run(main, int(sys.argv[1])))
