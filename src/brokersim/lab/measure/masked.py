"""Knows one virtual run of serial jobs with a hook, masks on or off: its time, counters and packets. No comparison."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.lab.measure.listener import is_counters
from brokersim.protocol.message import COUNTER_NAMES

if TYPE_CHECKING:
    from brokersim.instance import Instance

LINES = len(COUNTER_NAMES)


@attrs.frozen(kw_only=True)
class MaskedRun:
    """``packets`` are (seconds since the first job, module); ``counts`` what moved meanwhile, by module."""

    wall_s: float
    packets: tuple[tuple[float, str], ...]
    counts: dict[str, dict[str, int]]
    iterations: dict[str, int]

    def metrics(self, window: float, module: str | None = None) -> list[tuple[float, float]]:
        """[(start of a window, metrics a second in it)], all windows up to the end."""
        seen = Counter(int(t / window) for t, name in self.packets if module in (None, name))
        return [(at * window, LINES * seen[at] / window) for at in range(int(self.wall_s / window) + 1)]


async def set_masks(instance: Instance, on: bool = True) -> None:
    """Set or clear the counter bit of every module of rank 0."""
    client = instance.client()
    for module in instance.modules(0):
        op = "setbit" if on else "clrbit"
        await client.call(f"{module.name}.debug", {"op": op, "flags": MSGCOUNT})
    client.close()


async def observe(instance: Instance, jobs: int, run_time: float) -> MaskedRun:
    """Run serial jobs on a virtual instance whose statistics are kept in memory; what they moved."""
    handles = [module.handle for module in instance.modules(0)]
    before = {handle.name: _state(handle) for handle in handles}
    kept: Any = instance.sink
    start, seen = instance.reactor.now / 1e9, len(kept.packets)
    await serial_jobs_inside(instance, jobs, run_time)
    wall = instance.reactor.now / 1e9 - start
    after = {handle.name: _state(handle) for handle in handles}
    return MaskedRun(
        wall_s=wall,
        packets=tuple(
            (t - start, packet.split(b".")[1].decode())
            for t, packet in kept.packets[seen:]
            if is_counters(packet)
        ),
        counts={
            name: {
                kind: b - a for kind, a, b in zip(COUNTER_NAMES, before[name][0], after[name][0], strict=True)
            }
            for name in before
        },
        iterations={name: after[name][1] - before[name][1] for name in before},
    )


def _state(handle: Any) -> tuple[list[int], int]:
    if handle.station is not None:
        handle.station.settle()
    return list(handle.counts), handle.iterations
