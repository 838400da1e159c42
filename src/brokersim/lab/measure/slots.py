"""Knows how many slots jobs hold and how many they run in, from the events of all jobs; not why they wait.

A slot is held from alloc to free, which takes in the launch and the tidying up; a job runs from start to finish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from brokersim.lab.load.bulk import Points
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import Message

if TYPE_CHECKING:
    from brokersim.instance import Instance

#: What an event does to each curve.
_STEPS: Mapping[str, tuple[str, int]] = {
    "alloc": ("allocated", 1),
    "free": ("allocated", -1),
    "start": ("running", 1),
    "finish": ("running", -1),
}
CURVES = ("allocated", "running")


class SlotRecorder:
    """Follows the job manager's journal from now on; times are seconds since ``start`` (s of the instance's clock)."""

    def __init__(self, instance: Instance, start: float) -> None:
        self._instance = instance
        self._start = start
        self._held = dict.fromkeys(CURVES, 0)
        self._client = instance.client()
        self.curves: dict[str, Points] = {name: [(0.0, 0)] for name in CURVES}
        self._client.stream("job-manager.events-journal", {}, self._heard)

    def close(self) -> None:
        self._client.close()

    def _heard(self, response: Message, _: None) -> None:
        if response.errnum:
            return
        now = self._instance.reactor.now / 1e9 - self._start
        for event in response.payload["events"]:
            if event["name"] in _STEPS:
                self._count(now, *_STEPS[event["name"]])

    def _count(self, now: float, name: str, n: int) -> None:
        self._held[name] += n
        points = self.curves[name]
        if points[-1][0] == now:
            points[-1] = (now, self._held[name])
        else:
            points.append((now, self._held[name]))


def mean(points: Points, end: float) -> float:
    """Time-weighted mean of a step function over [0, end)."""
    area = 0.0
    for (t, value), (until, _) in zip(points, [*points[1:], (end, 0.0)], strict=True):
        area += value * max(0.0, min(until, end) - t)
    return area / end if end else 0.0


def highest(points: Points) -> float:
    return max(value for _, value in points)


def to_figures(curves: Mapping[str, Points], end: float) -> JsonObject:
    """``slots_NAME_mean`` and ``slots_NAME_max`` of each curve until ``end``."""
    found: JsonObject = {}
    for name, points in curves.items():
        found |= {f"slots_{name}_mean": mean(points, end), f"slots_{name}_max": highest(points)}
    return found
