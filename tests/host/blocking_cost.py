"""Prints what a blocking get costs beside the other ways to wait for an answer (docs/decisions/0005-blocking-get.md).

Run it by hand: `python -m tests.host.blocking_cost`; best of five, in ns an exchange and bytes a blocked module.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from greenlet import getcurrent

import brokersim
from brokersim.host.blocking import Workers
from brokersim.instance import Instance
from tests.host.live import write

N = 20_000
ASKERS = {
    "then": "def ask(self, m): self.handle.request('b.x', None, lambda r, _: self.handle.respond(m))",
    "call": "async def ask(self, m): await self.handle.call('b.x'); self.handle.respond(m)",
    "get": "def ask(self, m): self.handle.rpc('b.x').get(); self.handle.respond(m)",
}


async def exchange(instance: Instance, name: str) -> float:
    """ns an exchange: client → asker → b → asker → client, one at a time."""
    client, left = instance.client(), N
    done = trio.Event()

    def again(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            client.request(f"{name}.ask", None, again)
        else:
            done.set()

    start = time.perf_counter_ns()
    client.call_later(0, again)
    await done.wait()
    return (time.perf_counter_ns() - start) / N


async def main(folder: Path) -> None:
    served = '@request_handler("x")\ndef x(self, m): self.handle.respond(m)'
    ask = 'async def ask(self, m): await self.handle.call("b.x"); self.handle.respond(m)'
    task = f'@request_handler("ask")\n@trio_task\n{ask}'
    bodies = {name: f'@request_handler("ask")\n{body}' for name, body in ASKERS.items()} | {
        "b": served,
        "task": task,
    }
    paths = [write(folder, name, body) for name, body in bodies.items()]
    async with brokersim.open_instance(modules=paths) as instance:
        for name in (*ASKERS, "task"):
            best = min([await exchange(instance, name) for _ in range(5)])
            print(f"{name:5} {best:8.0f} ns an exchange")
        print(f"bytes a blocked module: {memory(instance):.0f}")


def memory(instance: Instance) -> float:
    """Of 10,000 parked callbacks."""
    workers, handle = Workers(), instance.client()

    def park() -> None:
        getcurrent().park()  # type: ignore[attr-defined]

    before = resident()
    for _ in range(10_000):
        workers.call(handle, None, park)
    return (resident() - before) / 10_000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        brokersim.run(main, Path(name))
