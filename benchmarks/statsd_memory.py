"""A million timings of one key in one interval: what the aggregator holds of them, and how good its percentiles are.

    python benchmarks/statsd_memory.py [--json] [--gate] [--repeats N] [--timings N]

Beside it, in the same run, what the exact list of them would hold. Errors are against the exact nearest rank, the worst
of p50, p90, p99 and p99.9 over four distributions: lognormal, bimodal with its break at p90, uniform, pareto.
"""

from __future__ import annotations

import gc
import math
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import _measure

from brokersim.statsd import Aggregator
from brokersim.statsd.config import AggregatorConfig

THRESHOLDS = (50, 90, 99, 99.9)
#: Log buckets of 1 %; beyond the exact cap no percentile may be further off.
WORST_ERROR = 0.01
BATCH = 1000
DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "lognormal": lambda chance: chance.lognormvariate(1, 1),
    "bimodal": lambda chance: chance.gauss(500, 20) if chance.random() > 0.9 else chance.gauss(5, 0.5),
    "uniform": lambda chance: chance.uniform(0.001, 1000),
    "pareto": lambda chance: chance.paretovariate(1.2),
}


def samples(name: str, count: int) -> list[float]:
    chance, draw = random.Random(name), DISTRIBUTIONS[name]
    return [round(abs(draw(chance)) + 0.001, 3) for _ in range(count)]


def packets(values: list[float]) -> Iterator[bytes]:
    for start in range(0, len(values), BATCH):
        yield b"\n".join(b"load:%b|ms" % repr(value).encode() for value in values[start : start + BATCH])


def traced(work: Callable[[], object]) -> float:
    """Megabytes that ``work`` held at its worst moment. It costs ten times the time."""
    gc.collect()
    tracemalloc.start()
    work()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held / 1e6


def fed(values: list[float]) -> Aggregator:
    aggregator = Aggregator(config=AggregatorConfig(percentiles=THRESHOLDS))
    for packet in packets(values):
        aggregator.feed(packet)
    return aggregator


def worst_error(values: list[float]) -> float:
    flush = fed(values).flush(1.0)
    assert "load" in flush.approx and flush.timer_counts["load"] == len(values)
    exact = sorted(values)
    worst = 0.0
    for threshold in THRESHOLDS:
        told = flush.values[f"timers.load.upper_{f'{threshold:g}'.replace('.', '_')}"]
        truth = exact[math.floor(threshold / 100 * len(exact) + 0.5) - 1]
        worst = max(worst, abs(told - truth) / truth)
    return worst


def listed(values: list[float]) -> list[float]:
    return [float(line[5:-3]) for packet in packets(values) for line in packet.split(b"\n")]


def measure(arguments: Any) -> _measure.Report:
    report = _measure.begin("statsd_memory", arguments, timings=arguments.timings)
    values = {name: samples(name, arguments.timings) for name in DISTRIBUTIONS}
    held, exact = traced(lambda: fed(values["lognormal"])), traced(lambda: listed(values["lognormal"]))
    errors = {name: worst_error(each) for name, each in values.items()}
    report.figures = [
        _measure.Figure(name="held at most", unit="MB", values=[held]),
        _measure.Figure(name="an exact list holds", unit="MB", values=[exact]),
        *(
            _measure.Figure(
                name=f"worst percentile error, {name}", unit="%", values=[100 * error],
                target=100 * WORST_ERROR,
            )
            for name, error in errors.items()
        ),
    ]  # fmt: skip
    report.gates = [
        _measure.Gate(what="held / exact list", ratio=held / exact, limit=0.25),
        _measure.Gate(what="worst error / 1 %", ratio=max(errors.values()) / WORST_ERROR, limit=1.0),
    ]
    report.keys = {"held_mb": held, "list_mb": exact, "worst_error": max(errors.values())}
    return report


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--timings", type=_measure.positive, default=1_000_000, metavar="N")
    arguments = parser.parse_args()
    return measure(arguments).finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
