"""Knows the journal's bulk workload: all jobs submitted at once; and the truth about their states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from brokersim.lab.load.jobs import SUBMIT, submission
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import Message

if TYPE_CHECKING:
    from brokersim.instance import Instance

STATES = ("NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE")
#: (seconds since the first, state left or None, state entered)
Transition = tuple[float, str | None, str]
Points = list[tuple[float, float]]


async def bulk_jobs_inside(instance: Instance, jobs: int, run_time: float) -> None:
    """Submit ``jobs`` at once from one handle and wait until none is active. Raises RequestError."""
    client = instance.client()
    payload = submission(run_time)
    left = jobs

    def start(done: Callable[[Any], None]) -> None:
        def drained(response: Message, _: None) -> None:
            done(_error(response))

        def submitted(response: Message, _: None) -> None:
            nonlocal left
            left -= 1
            if response.errnum:
                done(_error(response))
            elif not left:
                client.request("job-manager.drain", None, drained)

        for _ in range(jobs):
            client.request(SUBMIT, payload, submitted)

    try:
        await instance.broker(0).endpoint.occurrence(start)
    finally:
        client.close()


def _error(response: Message) -> RequestError | None:
    return response.error() if response.errnum else None


@attrs.frozen(kw_only=True)
class Truth:
    """Every transition of every job, in order."""

    transitions: tuple[Transition, ...]

    @property
    def end(self) -> float:
        """When the last one was, in seconds since the first."""
        return self.transitions[-1][0] if self.transitions else 0.0

    def counts(self) -> Iterator[tuple[float, dict[str, int]]]:
        """The counts after each transition; the dict is the same one each time."""
        held = dict.fromkeys(STATES, 0)
        for t, left, entered in self.transitions:
            if left is not None:
                held[left] -= 1
            held[entered] += 1
            yield t, held

    def submitted(self) -> int:
        return sum(left is None for _, left, _ in self.transitions)

    def curves(self) -> dict[str, Points]:
        """Each state's count as a step function: points where it changed, the last one of an instant."""
        curves: dict[str, Points] = {state: [(0.0, 0)] for state in STATES}
        for t, held in self.counts():
            for state, count in held.items():
                points = curves[state]
                if points[-1][0] == t:
                    points[-1] = (t, count)
                elif points[-1][1] != count:
                    points.append((t, count))
        return curves

    def peaks(self) -> dict[str, int]:
        """The highest count of each state."""
        peaks = dict.fromkeys(STATES, 0)
        for _, held in self.counts():
            for state, count in held.items():
                peaks[state] = max(peaks[state], count)
        return peaks


async def read_truth(client: Any, start: float) -> Truth:
    """What the plugin state-history wrote down, with times from ``start`` (s of the instance's clock)."""
    found = await client.call("job-manager.jobtap-query", {"name": "state-history"})
    return Truth(transitions=tuple((t - start, left, entered) for t, left, entered in found["history"]))


def thinned(points: Iterable[tuple[float, float]], most: int = 1200) -> Points:
    """At most about ``most`` points with the same envelope: of each stretch its first, lowest, highest and last."""
    kept = list(points)
    if len(kept) <= most:
        return kept
    stretch = -(-len(kept) * 4 // most)
    chosen: dict[int, None] = {}
    for begin in range(0, len(kept), stretch):
        share = range(begin, min(begin + stretch, len(kept)))
        low = min(share, key=lambda at: kept[at][1])
        high = max(share, key=lambda at: kept[at][1])
        chosen |= dict.fromkeys(sorted({share[0], low, high, share[-1]}))
    return [kept[at] for at in chosen]
