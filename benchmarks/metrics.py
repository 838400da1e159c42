"""What statistics over the tree cost: frames into the root, tree beside star; a collection's time; observations.

    python benchmarks/metrics.py [--quick]

Frames are exact. Times are CPU of this process, which is all there is: what others do on the machine is not in them.
They are the best of some rounds; beside them stands an empty statement or a star of the same run.
Goals: 16 ranks x 1,000 equal keys 40 frames (star 300) and 35 ms; 64 ranks below the root x 10,000 at most 1,600
(star 12,800); an observation 300 ns, 40 ns where nobody counts; 1,024 virtual ranks x 100 keys every 15 s, 50 simulated
s a second.
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from brokersim import open_instance, run  # noqa: E402
from brokersim.instance import Instance  # noqa: E402

SUM = [{"stream": "s", "apply": ["sum"]}]


class Counted:
    """Frames of collections that rank 0 is handed, and the credit it grants."""

    def __init__(self, instance: Instance) -> None:
        self.frames = 0
        self.rows = 0
        self.grants = 0
        instance.module(0, "metrics").handle.set_tracer(self._see)

    def _see(self, way: str, actor: Any, message: Any) -> None:
        if message.topic == "metrics.collect" and way == "rx" and message.type == 3 and not message.errnum:
            self.frames += message.data["seq"] >= 0
            self.rows += len(message.data.get("rows", ()))
        self.grants += message.topic == "metrics.credit" and way == "tx"


async def gather(instance: Instance) -> tuple[int, float]:
    """End an epoch; rows that came, and seconds of CPU it took."""
    rows = 0
    over = trio.Event()

    def heard(response: Any, _: object) -> None:
        nonlocal rows
        if response.errnum:
            over.set()
        else:
            rows += len(response.data.get("rows", ()))

    client = instance.client()
    begun = time.process_time()
    client.stream("metrics.gather", {"name": "t"}, heard, None, 0)
    await over.wait()
    took = time.process_time() - begun
    client.close()
    return rows, took


async def defined(instance: Instance, **more: Any) -> None:
    client = instance.client()
    made = {"name": "t", "epoch": 0, "reducers": SUM, **more}
    await client.call("metrics.create", {"definition": made}, 0)
    await instance.sleep(0.01)


def fill(instance: Instance, keys: int, own: bool, first: int = 0) -> None:
    """The same keys on every rank, or its own on each."""
    names = [f"0000.{key:06}" for key in range(keys)]
    for rank in range(first, instance.size):
        observe = instance.module(rank, "metrics").handle.observe
        for name in [f"{rank:04}{name[4:]}" for name in names] if own else names:
            observe("s", name, 1)


def on(size: int, fanout: int, body: Callable[[Instance], Awaitable[Any]], clock: str = "virtual") -> Any:
    async def main() -> Any:
        async with open_instance(size=size, fanout=fanout, clock=clock, modules=["metrics"]) as instance:
            return await body(instance)

    return run(main, clock=clock)


def frames(size: int, fanout: int, keys: int, own: bool, first: int = 0) -> str:
    async def body(instance: Instance) -> str:
        await defined(instance)
        fill(instance, keys, own, first)
        counted = Counted(instance)
        rows, took = await gather(instance)
        shape = f"k={fanout}" if fanout else "star"
        kind = "own" if own else "equal"
        return (
            f"{size:4} ranks x {keys:6} {kind:5} keys, {shape:5}{counted.frames:7} frames into rank 0 "
            f"({counted.rows} rows), {counted.grants} grants, {rows} rows out, {took * 1e3:8.1f} ms of CPU"
        )

    return str(on(size, fanout, body))


def real_time(rounds: int) -> None:
    """16 ranks x 1,000 equal keys in real time: in one process, without costs."""
    for fanout in (2, 0):

        async def body(instance: Instance) -> float:
            await defined(instance)
            found = []
            for _ in range(rounds):
                fill(instance, 1000, False)
                found.append((await gather(instance))[1])
            return min(found)

        best = on(16, fanout, body, clock="real")
        print(
            f"collection of 16 x 1,000 in real time, {'tree' if fanout else 'star'}: {best * 1e3:.1f} ms   goal 35"
        )


def observations(count: int) -> None:
    async def body(instance: Instance) -> None:
        handle = instance.module(0, "metrics").handle

        def each(statement: str) -> float:
            timer = timeit.Timer(statement, timer=time.process_time, globals={"handle": handle})
            return min(timer.repeat(7, count)) / count * 1e9

        empty = each("pass")
        nobody = each('handle.observe("s", "key", 1)')
        await defined(instance)
        counted = each('handle.observe("s", "key", 1)')
        other = each('handle.observe("other", "key", 1)')
        objects = each('handle.observe("s", {"module": "kvs"}, 1)')
        print(
            f"observe: {counted:.0f} ns counted (goal 300), {nobody:.0f} ns nobody counts (goal 40), {other:.0f} ns "
            f"another stream, {objects:.0f} ns with an object as key; an empty statement {empty:.1f} ns"
        )

    on(1, 2, body)


def memory(keys: int) -> None:
    """The peak of a collection beside that of the tables, which must not grow with the ranks below."""

    async def body(instance: Instance) -> tuple[float, float]:
        await defined(instance)
        fill(instance, keys, False)
        tables = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        await gather(instance)
        return tables / 1e6, (tracemalloc.get_traced_memory()[1] - tables) / 1e6

    for size in (5, 17):
        tracemalloc.start()
        tables, more = on(size, 4, body)
        tracemalloc.stop()
        bound = size * keys * 600 / 1e6 + 16 * 4 * 0.065
        print(
            f"memory, {size} ranks x {keys} keys, k=4: {more:.1f} MB above tables and process of {tables:.1f} MB "
            f"(own rows as JSON values and 4 frames of 64 KiB a child: {bound:.1f} MB)"
        )


def many(ranks: int, seconds: float) -> None:
    async def body(instance: Instance) -> float:
        await defined(instance, epoch=15.0)
        begun = time.process_time()
        for _ in range(int(seconds / 15)):
            fill(instance, 100, False)
            await instance.sleep(15.0)
        return seconds / (time.process_time() - begun)

    print(
        f"{ranks} virtual ranks x 100 keys every 15 s: {on(ranks, 8, body):.1f} simulated s a second of CPU   goal 50"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the smaller cases only")
    quick = parser.parse_args().quick
    for own in (False, True):
        for fanout in (2, 8, 0):
            print(frames(16, fanout, 1000, own))
    if not quick:
        for fanout in (8, 2, 0):
            print(frames(65, fanout, 10_000, False))
    observations(20_000 if quick else 200_000)
    real_time(3 if quick else 15)
    memory(500 if quick else 2000)
    many(64 if quick else 1024, 30.0 if quick else 60.0)


if __name__ == "__main__":
    main()
