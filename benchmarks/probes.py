"""What measuring costs: a read, a tick without the read, a thousand measurements, an hour of replay on 1,024 ranks.

Each figure stands beside its peer of the same run where there is one: psutil for reads, if it is installed.

    python benchmarks/probes.py [--quick] [--json] [--repeats N]
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import _baselines  # noqa: E402
import _measure  # noqa: E402

from brokersim import open_instance, run  # noqa: E402
from modules.probe.contract import Context  # noqa: E402
from modules.probe.offline import Alone  # noqa: E402
from modules.probe.probes import PROBES  # noqa: E402

#: µs a read may take with parsing.
GOALS = {"cpu": 40, "mem": 70, "net": 45, "disk": 25}
#: µs of a tick of the module `probe`, all but the read.
TICK_GOAL = 30


def best(call: Callable[[], object], count: int, rounds: int = 5) -> float:
    """µs a call, the best of some rounds: what disturbs only adds."""
    return (
        min(_measure.cpu_ns(lambda count: [call() for _ in range(count)], count) for _ in range(rounds)) / 1e3
    )


def reads(count: int) -> dict[str, Callable[[], float]]:
    """µs a reading by probe, with psutil beside each where it is installed."""
    ask = Alone(asked=lambda *_: None, ran=lambda _: None)
    parts: dict[str, Callable[[], float]] = {}
    for name in GOALS:
        probe = PROBES[name]()
        probe.open(Context(ask=ask))
        parts[f"read {name}"] = partial(best, probe.read, count)
        if (peer := _psutil(name)) is not None:
            parts[f"psutil {name}"] = partial(best, peer, count)
    return parts


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


def main() -> int:
    parser = _measure.parser(__doc__, repeats=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    given = parser.parse_args()
    report = _measure.begin("probes", given)
    scale = 0.1 if given.quick else 1.0
    count, seconds = 200, 100 * scale
    ticks = count * seconds
    taken = _measure.rounds(
        {
            **reads(int(1000 * scale)),
            "tick, no sink": lambda: ticking(count, seconds, "") / ticks * 1e6,
            "tick, statsd": lambda: ticking(count, seconds, "statsd") / ticks * 1e6,
            "b1": partial(_measure.cpu_ns, _baselines.deque_loop, int(1_000_000 * scale)),
        },
        given.repeats,
    )
    for name, values in taken.items():
        goal = GOALS.get(name.removeprefix("read ")) or (TICK_GOAL if name.startswith("tick") else None)
        report.figures.append(
            _measure.Figure(name=name, unit="ns" if name == "b1" else "µs", values=values, target=goal)
        )
    size = size_of_a_measurement(1000)
    report.figures.append(_measure.Figure(name="a measurement", unit="B", values=[size], target=2000))
    took = hour(1024, 3600 * scale) / scale
    report.figures.append(
        _measure.Figure(name="an hour of 10 replays, 1,024 ranks", unit="s", values=[took], target=60)
    )
    report.keys = {"tick_us": statistics.median(taken["tick, no sink"]), "bytes_a_measurement": size}
    return report.finish(given)


if __name__ == "__main__":
    sys.exit(main())
