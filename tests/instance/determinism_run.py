"""One run of three ranks with all three kinds of handler; prints its whole trace. A process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import brokersim
from brokersim.host.handle import Handle
from brokersim.routing.trace import RunTrace


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
