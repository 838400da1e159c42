"""What measuring costs: a read, a tick without the read, a thousand measurements, an hour of replay on 1,024 ranks.

Each figure stands beside its peer of the same run where there is one: psutil for reads, if it is installed.
Run: python benchmarks/probes.py [--quick]
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from brokersim import open_instance, run  # noqa: E402
from modules.probe.contract import Context  # noqa: E402
from modules.probe.offline import Alone  # noqa: E402
from modules.probe.probes import PROBES  # noqa: E402

#: µs a read may take with parsing (the specification's figures).
GOALS = {"cpu": 40, "mem": 70, "net": 45, "disk": 25}


def best(call: Callable[[], object], count: int, rounds: int = 5) -> float:
    """Seconds a call, the best of some rounds: what disturbs only adds."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - begun) / count)
    return min(found)


def reads(count: int) -> None:
    ask = Alone(asked=lambda *_: None, ran=lambda _: None)
    for name, goal in GOALS.items():
        probe = PROBES[name]()
        probe.open(Context(ask=ask))
        peer = best(_psutil(name), count) * 1e6 if _psutil(name) else 0.0
        beside = f"   psutil {peer:6.1f}" if peer else ""
        print(f"read {name:5} {best(probe.read, count) * 1e6:8.1f} µs   goal {goal}{beside}")
        probe.close()


def _psutil(name: str) -> Any:
    try:
        import psutil
    except ImportError:
        return None
    return {
        "cpu": psutil.cpu_times, "mem": psutil.virtual_memory, "disk": psutil.disk_io_counters,
        "net": lambda: psutil.net_io_counters(pernic=True),
    }[name]  # fmt: skip


def ticking(number: int, seconds: float, sink: str) -> float:
    """Processor seconds a tick of ``number`` dummies at 1 Hz for so long in virtual time."""

    async def main() -> float:
        async with open_instance(modules=["probe"], stats="mem:" if sink else None) as instance:
            client = instance.client()
            reporting = {"sinks": [sink] if sink else []}
            for one in range(number):
                record = {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 1}}}
                record |= {"reporting": reporting, "jitter": 1}
                await client.call("probe.add", {"name": f"m{one}", "record": record})
            await instance.sleep(3)
            begun = time.process_time()
            await instance.sleep(seconds)
            return time.process_time() - begun

    return float(run(main))


def size_of_a_measurement(number: int) -> float:
    """Bytes a measurement, all of it."""

    async def main() -> float:
        async with open_instance(modules=["probe"]) as instance:
            client = instance.client()
            await client.call("probe.status")
            gc.collect()
            tracemalloc.start()
            for one in range(number):
                record = {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 1}}}
                await client.call("probe.add", {"name": f"m{one}", "record": record})
            await instance.sleep(3)
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return size / number

    return float(run(main))


def hour(ranks: int, seconds: float) -> float:
    """Wall seconds of ten replay measurements at 1 Hz on some of so many ranks for so long."""

    async def main() -> float:
        async with open_instance(size=ranks, modules=[]) as instance:
            for rank in range(10):
                await instance.load("probe", rank=rank * (ranks // 10))
                client = instance.client(rank * (ranks // 10))
                record = {"probe": "replay", "config": {"readings": [{"v": 1.0}, {"v": 2.0}]}}
                record |= {"schedule": {"type": "every", "params": {"every": 1}}, "reporting": {"sinks": []}}
                await client.call("probe.add", {"name": "r", "record": record})
            begun = time.perf_counter()
            await instance.sleep(seconds)
            return time.perf_counter() - begun

    return float(run(main))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    scale = 0.1 if parser.parse_args().quick else 1.0
    reads(int(3000 * scale))
    count, seconds = 200, 100 * scale
    for sink in ("", "statsd"):
        tick = min(ticking(count, seconds, sink) for _ in range(3)) / (count * seconds)
        print(
            f"tick, sink {sink or 'none':6} {tick * 1e6:8.1f} µs   goal 30; 1,000 at 1 Hz: {tick * 1e5:.1f} % of a core"
        )
    print(f"a measurement    {size_of_a_measurement(1000):8.0f} B    goal 2000")
    took = hour(1024, 3600 * scale)
    print(f"an hour of 10 replays, 1,024 ranks {took / scale:6.1f} s   goal 60")
    print(f"largest resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
