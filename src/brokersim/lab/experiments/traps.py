"""Knows the traps that lose or bend values without any server complaining, each beside its cure; no sockets.

Source: docs/experiments.md, J2, J14, J18, J20. Streams are made here and go through the real aggregator and the lint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import attrs

from brokersim.protocol.decoded import JsonView
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.packet import MAX_PACKET, GaugeBlock
from brokersim.statsd.recorded.lint import lint
from brokersim.statsd.recorded.stream import Record

#: The journal's modules, in the order in which their packets come.
MODULES = (
    "content-sqlite", "cron", "heartbeat", "job-exec", "job-manager", "kvs", "kvs-watch", "job-ingest", "sched-simple"
)  # fmt: skip
#: carbon's default: new series a minute.
MAX_CREATES = 50.0
FLUSH = 10.0
#: The journal's NEW: −10,000 jobs, sent once a second until 370 sends.
JOBS, SENDS = 10_000, 370
DIALECTS = ("etsy", "brubeck", "collectd")
Points = list[tuple[float, float]]


# -- new series a minute


@attrs.frozen(kw_only=True)
class Creates:
    """Series that exist after each flush (s), by module: with carbon's limit and without one."""

    limit: float | None
    series: dict[str, Points]

    def partial(self, t: float) -> dict[str, int]:
        """Modules of which some series exist at ``t``, but not all."""
        there = {name: int(dict(points)[t]) for name, points in self.series.items()}
        return {name: n for name, n in there.items() if 0 < n < len(COUNTER_NAMES)}

    def complete_at(self) -> float | None:
        """The first flush after which no series is missing; None: never."""
        times = [t for t, _ in next(iter(self.series.values()))]
        full = float(len(COUNTER_NAMES))
        return next(
            (t for t in times if all(dict(points)[t] == full for points in self.series.values())), None
        )


def packets_of(modules: Sequence[str], t: float, value: int) -> list[Record]:
    """Each module's eight counters in one packet, as its hook sends them."""
    found = []
    for module in modules:
        names = tuple(f"flux.{module}.0.{name}" for name in COUNTER_NAMES)
        found.append((t, GaugeBlock(names).format([value] * len(names))))
    return found


def creates(limit: float | None, flushes: int = 6) -> Creates:
    """An instance whose counters move all the time, behind a store with a limit on new series a minute."""
    server = Aggregator("brubeck", AggregatorConfig(flush=FLUSH, max_creates_per_minute=limit))
    there: dict[str, set[str]] = {module: set() for module in MODULES}
    series: dict[str, Points] = {module: [] for module in MODULES}
    for number in range(1, flushes + 1):
        for t, packet in packets_of(MODULES, (number - 1) * FLUSH, number):
            server.feed(packet, t=t)
        shown = server.flush(number * FLUSH).values
        for module in MODULES:
            there[module].update(name for name in shown if name.startswith(f"flux.{module}.0."))
            series[module].append((number * FLUSH, float(len(there[module]))))
    return Creates(limit=limit, series=series)


# -- a signed gauge


def signed(dialect: str, *, cured: bool, sends: int = SENDS, jobs: int = JOBS) -> Points:
    """What a server shows of a count of −jobs sent every second: as it is, or with a 0 before it in the same packet."""
    server = Aggregator(dialect, AggregatorConfig(flush=1.0))
    line = b"flux.job-states.new:-%d|g" % jobs
    packet = b"flux.job-states.new:0|g\n" + line if cured else line
    points: Points = []
    for second in range(1, sends + 1):
        server.feed(packet, t=second - 0.5)
        points.append((float(second), server.flush(float(second)).gauges["flux.job-states.new"]))
    return points


# -- what the lint says


@attrs.frozen(kw_only=True)
class Trap:
    """A recorded stream with a trap in it, the codes the lint must find, and the same stream cured."""

    name: str
    codes: tuple[str, ...]
    records: tuple[Record, ...]
    cured: tuple[Record, ...]
    options: Mapping[str, Any] = attrs.field(factory=dict)
    cured_options: JsonView = attrs.field(factory=dict)

    def found(self, *, cured: bool = False) -> tuple[str, ...]:
        """Codes the lint finds, each once."""
        records = self.cured if cured else self.records
        options = {**self.options, **(self.cured_options if cured else {})}
        codes = sorted(one.code for one in lint(records, **{"dialect": "brubeck", **options}))
        return tuple(code for code, _ in groupby(codes))


def _gauge(name: str, *values: str) -> tuple[Record, ...]:
    return tuple((float(second), f"{name}:{value}|g".encode()) for second, value in enumerate(values))


def traps() -> list[Trap]:
    """Every trap of the journal that a stream shows."""
    first = tuple(packets_of(MODULES, 0.0, 1))
    totals = [(float(t), b"flux.kvs.0.request_tx:%d" % n) for t, n in enumerate((5, 9, 14, 20))]
    return [
        Trap(
            name="new series beyond the limit a minute (J2)",
            codes=("S108",),
            records=first,
            cured=first,
            options={"flush": FLUSH, "max_creates": MAX_CREATES},
            cured_options={"max_creates": None},
        ),
        Trap(
            name="increasing totals sent as counters (J2)",
            codes=("S109",),
            records=tuple((t, line + b"|c") for t, line in totals),
            cured=tuple((t, line + b"|g") for t, line in totals),
            options={"dialect": "etsy"},
        ),
        Trap(
            name="a signed gauge, sent each second (J14)",
            codes=("S102", "S112"),
            records=_gauge("flux.job-states.new", *[f"-{JOBS}"] * 5),
            cured=tuple(
                (float(t), b"flux.job-states.new:0|g\nflux.job-states.new:-%d|g" % JOBS) for t in range(5)
            ),
        ),
        Trap(
            name="a net zero among increments (J20)",
            codes=("S101",),
            records=_gauge("run", "+3", "-1", "0", "-2"),
            cured=_gauge("run", "+3", "-1", "-2"),
        ),
        Trap(
            name="a retention below a second (J18)",
            codes=("S111",),
            records=_gauge("run", "3"),
            cured=_gauge("run", "3"),
            options={"retention": "0.1s:1d"},
            cured_options={"retention": "1s:1d"},
        ),
    ]


def longest_packet() -> int:
    """Bytes of the longest of the journal's packets; it must fit into ``MAX_PACKET``."""
    longest = max(len(packet) for _, packet in packets_of(MODULES, 0.0, 2**31))
    assert longest <= MAX_PACKET
    return longest
