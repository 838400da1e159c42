"""Odd lines that were put to the running servers side by side with ours, and what these flushed of them.

Recorded from statsd 0.10.2, brubeck and collectd 5.12, a packet a line, one flush of a second. None: not there.
"""

from __future__ import annotations

import math

import pytest

from brokersim.statsd import Aggregator
from brokersim.statsd.config import AggregatorConfig

ETSY = {
    # A byte order mark is a blank to JavaScript, in a name too; ASCII's separators are none.
    ("k:\ufeff5|c",): {"counters.k.count": 5},
    ("k:5\ufeff|c",): {"counters.k.count": 5},
    ("k:5|ms\u00a0",): {"timers.k.upper": 5},
    ("a\u00a0\u3000b:5|g",): {"gauges.a_b": 5},
    ("a\ufeffb:5|g",): {"gauges.a_b": 5},
    ("a\u0085b:5|g", "a\u200bb:+1|g"): {"gauges.ab": 6},
    ("k:\x1c5|g",): {"gauges.k": None},
    ("k:5|ms\x1c",): {"counters.k\x1c.count": None, "counters.k.count": 5, "timers.k.count": None},
    # Behind a second mark is nothing.
    ("k:16|c|#a:b|c:x|#d:-4|c|@0.5",): {"counters.k.count;a=bcx": 16},
    ("k:2|s|#a|#:b",): {"sets.k.count;a": 1},
    ("k:2|c|#|#a:b",): {"counters.k.count": 2},
    ("k:Infinity|ms",): {"timers.k.std": math.nan, "timers.k.upper": math.inf, "timers.k.count": 1},
    ("k:5|ms", "k:Infinity|ms"): {"timers.k.std": math.nan, "timers.k.lower": 5, "timers.k.sum": math.inf},
}
BRUBECK = {
    # It counts the timings of a rate in whole numbers, each for itself.
    ("k:5|ms|@0.3",): {"k.count": 3, "k.count_ps": 3},
    ("k:5|ms|@0.3", "k:5|ms|@0.3", "k:5|ms|@0.3"): {"k.count": 9},
    ("k:5|ms|@0.7", "k:5|ms|@0.7"): {"k.count": 2},
    ("k:5|h|@0.003",): {"k.count": 333},
    ("k:5|c|@0.3",): {"k": 16.6666},
    # A total with a rate is a larger total.
    ("k:5|C", "k:50|C|@0.3"): {"k": 161.6666},
    ("k:5|C|@0.5", "k:10|C|@0.5"): {"k": 10},
}
COLLECTD = {
    ("k:8e12|ms",): {"gauge-k-count": 1, "latency-k-upper": 8e9},
    ("k:8589934592000|ms",): {"gauge-k-count": 0, "latency-k-upper": 0, "latency-k-average": 0},
    ("k:1e13|ms",): {"gauge-k-count": 0, "latency-k-percentile-50": 0},
    ("k:5|ms", "k:10000000000000|ms"): {"gauge-k-count": 1, "latency-k-sum": 0.005},
    ("k:9e18|c",): {"derive-k": 9_000_000_000_000_000_000},
    ("k:9.3e18|c",): {"derive-k": None},
    ("k:-9.3e18|c",): {"derive-k": None},
}


@pytest.mark.parametrize(
    ("dialect", "lines", "shown"),
    [
        pytest.param(dialect, lines, shown, id=f"{dialect}-{number}")
        for dialect, vectors in {"etsy": ETSY, "brubeck": BRUBECK, "collectd": COLLECTD}.items()
        for number, (lines, shown) in enumerate(vectors.items())
    ],
)
def test_a_dialect_shows_what_the_server_showed(
    dialect: str, lines: tuple[str, ...], shown: dict[str, float | None]
):
    ours = Aggregator(dialect, AggregatorConfig(flush=1.0))
    for line in lines:
        ours.feed(line.encode())
    values = ours.flush(1.0).values
    gone = sorted(name for name, value in shown.items() if value is None and name in values)
    assert gone == []
    there = {name: value for name, value in shown.items() if value is not None}
    assert {name: values.get(name) for name in there} == pytest.approx(there, rel=1e-6, nan_ok=True)
