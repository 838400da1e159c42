"""Knows how a run's true curves are recorded: every state and counter change with its time, and when hooks fired.

Doesn't know what is made of them. The run is on the virtual clock with modelled costs and emits nothing itself, so its
truth is the same for every way of emitting; recording watches, and neither sends nor waits.
"""

from __future__ import annotations

import math
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from brokersim.lab.load.jobs import SUBMIT, serial_jobs_inside, submission
from brokersim.lab.measure.pipeline import Emission, Track, at_changes, at_marks, at_ticks
from brokersim.lab.measure.series import US
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.message import COUNTER_NAMES, Message
from brokersim.protocol.settings import check_hook
from brokersim.reactor.cost import CostModel
from brokersim.reactor.watchers import Watcher

if TYPE_CHECKING:
    from brokersim.instance import Instance

#: The states in the order of a job's life, as `flux.job-states.<state>` names them.
STATES = ("new", "depend", "priority", "sched", "run", "cleanup", "inactive")
STATE_KEYS = tuple(f"flux.job-states.{state}" for state in STATES)
COUNTER_KEYS = tuple(f"flux.kvs.0.{name}" for name in COUNTER_NAMES)
TIMER_KEYS = ("flux.content-cache.load", "flux.content-cache.store")
#: An idle hook keeps its loop turning: it sees a change one turn later (CostModel.iteration_s).
SPIN_US = 5
_NS_PER_US = 1000


@attrs.frozen(kw_only=True)
class Recorded:
    """Values that changed together, and after how many changes each hook could have told of them."""

    track: Track
    marks: dict[str, list[tuple[int, int]]]

    def emissions(self, emission: str, phase: int, horizon: int) -> list[Emission]:
        """When ``emission`` (a hook, or timer:FSD with its phase in µs) would have told of which changes."""
        if emission in self.marks:
            return [each for each in at_marks(self.marks[emission]) if each.t < horizon]
        if emission == "idle":
            return at_changes(self.track, SPIN_US)
        return at_ticks(self.track, period_of(emission), phase, horizon)


@attrs.frozen(kw_only=True)
class Truth:
    """What really happened in a run. ``samples``: (time in µs, duration in ms) of each timed operation.

    ``end`` is the time of the last change and ``horizon`` until when curves are compared, both in µs.
    """

    workload: str
    jobs: int
    seed: int
    states: Recorded
    counters: Recorded
    samples: dict[str, list[tuple[int, float]]]
    end: int
    horizon: int


def period_of(emission: str) -> int:
    """The timer's period in µs; 0 for a hook. Raises ValueError for what is neither."""
    kind, _, text = check_hook(emission).partition(":")
    period = round(parse_duration(text) * US) if kind == "timer" else 0
    if kind == "timer" and period < 1:
        raise ValueError(f"{emission}: a timer's period is at least 1 µs")
    return period


def record(workload: str, jobs: int, seed: int) -> Truth:
    """Run a workload and return its truth. Raises ValueError for an unknown one, RequestError if a job is refused."""
    if workload not in WORKLOADS:
        raise ValueError(f"no workload {workload!r}; there are {', '.join(WORKLOADS)}")
    return run(_record, workload, jobs, seed)


async def _record(workload: str, jobs: int, seed: int) -> Truth:
    async with open_instance(
        seed=seed,
        stats="mem:,names=journal",
        attrs={"stats.period": "0"},
        cost=CostModel(packet_s=0),
        resources="1x16",
    ) as instance:
        recorder = Recorder(instance)
        await WORKLOADS[workload](instance, jobs, random.Random(f"{workload}/{seed}"))
        # The last change is told in the module's next turn, which the answer that ends the workload does not wait for.
        await instance.sleep(0.01)
        return recorder.truth(workload, jobs, seed)


class Recorder:
    """Watches one running instance from now on; its time 0 is this moment."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._start = instance.reactor.now
        self._packets = instance.sink
        self._seen = len(getattr(instance.sink, "packets", ()))
        self.states = _StateRecorder(self.now)
        self.counters = _CounterRecorder(self.now, instance.module(0, "kvs").handle.counts)
        manager: Any = instance.module(0, "job-manager").handle.body
        manager._machine.hooks.add("job.*", self.states.heard)
        for name, recorder in (("job-manager", self.states), ("kvs", self.counters)):
            loop = instance.module(0, name).handle.module_loop()
            for hook in recorder.marks:
                # Oldest, as the instrument's own: behind what the module does in the same hook.
                Watcher(loop, hook, partial(recorder.look, hook)).start(oldest=True)

    def now(self) -> int:
        """µs since the recording began."""
        return (self._instance.reactor.now - self._start) // _NS_PER_US

    def truth(self, workload: str, jobs: int, seed: int) -> Truth:
        """What was recorded until now. The horizon leaves the slowest store time to show the end."""
        states, counters = self.states.recorded(), self.counters.recorded()
        end = max((*states.track.times[-1:], *counters.track.times[-1:]), default=0)
        # Settled values are drawn for a quarter of the run more, whole tens of seconds, so that plots share their axis.
        horizon = max(1, math.ceil(end * 1.25 / (10 * US))) * 10 * US
        return Truth(
            workload=workload, jobs=jobs, seed=seed, states=states, counters=counters, samples=self._samples(), end=end,
            horizon=horizon,
        )  # fmt: skip

    def _samples(self) -> dict[str, list[tuple[int, float]]]:
        """What the cache said of its operations: each at once, with the instance's `stats.period` 0."""
        samples: dict[str, list[tuple[int, float]]] = {key: [] for key in TIMER_KEYS}
        for t, packet in getattr(self._packets, "packets", ())[self._seen :]:
            key, _, field = packet.decode().partition(":")
            if key in samples:
                us = (round(t * 1e9) - self._start) // _NS_PER_US  # as `now` does
                samples[key] += [(us, float(value)) for value in field.partition("|")[0].split(":")]
        return samples


class _Changes:
    """Rows of values and how many of them there were when each hook fired."""

    def __init__(self, now: Callable[[], int], names: tuple[str, ...], first: tuple[int, ...]) -> None:
        self._now = now
        self._track = Track(names=names, first=first, times=[], rows=[])
        self.marks: dict[str, list[tuple[int, int]]] = {"prepare": [], "check": []}

    def changed(self, row: tuple[int, ...]) -> None:
        self._track.times.append(self._now())
        self._track.rows.append(row)

    def look(self, hook: str) -> None:
        """A hook fired: note how far the changes had come, if farther than when it fired last."""
        marks, end = self.marks[hook], len(self._track.rows)
        if end > (marks[-1][1] if marks else 0):
            marks.append((self._now(), end))

    def recorded(self) -> Recorded:
        """A copy: the instance runs on, if only to its shutdown."""
        track = attrs.evolve(self._track, times=self._track.times.copy(), rows=self._track.rows.copy())
        return Recorded(track=track, marks={hook: marks.copy() for hook, marks in self.marks.items()})


class _StateRecorder(_Changes):
    """Jobs in each state, after every single transition."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__(now, STATE_KEYS, (0,) * len(STATES))
        self._state: dict[int, str] = {}
        self._held: Counter[str] = Counter()

    def heard(self, topic: str, job: Any) -> None:
        """A topic of job-manager's hooks: ``job.new`` or ``job.state.<state>``."""
        entered = topic.rpartition(".")[2]
        left = self._state.get(job.id)
        if left is not None:
            self._held[left] -= 1
        self._held[entered] += 1
        self._state[job.id] = entered
        self.changed(tuple(self._held[state] for state in STATES))


class _CounterRecorder(_Changes):
    """A module's message counters; they change in its iterations only, and every iteration has both hooks."""

    def __init__(self, now: Callable[[], int], counts: list[int]) -> None:
        super().__init__(now, COUNTER_KEYS, tuple(counts))
        self._counts = counts
        self._last = list(counts)

    def look(self, hook: str) -> None:
        if self._counts != self._last:
            self._last = self._counts.copy()
            self.changed(tuple(self._last))
        super().look(hook)


# -- workloads


async def _serial(instance: Instance, jobs: int, draw: random.Random) -> None:
    await serial_jobs_inside(instance, jobs, 0.1)


async def _bulk(instance: Instance, jobs: int, draw: random.Random) -> None:
    await _submit(instance, jobs, draw)
    await _drain(instance)


async def _burst(instance: Instance, jobs: int, draw: random.Random) -> None:
    """A burst of at most 100 jobs every 15 seconds."""
    while jobs:
        now = min(jobs, 100)
        await _submit(instance, now, draw)
        jobs -= now
        await instance.sleep(15.0)
    await _drain(instance)


async def _chatty(instance: Instance, jobs: int, draw: random.Random) -> None:
    """At rest but for a job that prints: 1.55 lines a second for two minutes, each appended to the KVS."""
    client = instance.client()
    for line in range(186):
        await client.call(
            "kvs.commit", {"ops": [{"key": "bench.output", "flags": 0, "dirent": _value(line)}], "flags": 0}
        )
        await instance.sleep(1 / 1.55)
    client.close()


#: Jobs one after the other, all at once, in bursts; and none, but a chatty one.
WORKLOADS: dict[str, Callable[[Instance, int, random.Random], Awaitable[None]]] = {
    "bulk": _bulk, "serial": _serial, "burst": _burst, "chatty": _chatty
}  # fmt: skip


def _value(line: int) -> JsonObject:
    return {"ver": 1, "type": "val", "data": b64encode(f"line {line}\n".encode()).decode()}


async def _submit(instance: Instance, jobs: int, draw: random.Random) -> None:
    """Submit simulated jobs of 0.5 to 2.5 s at once and wait until all are accepted."""
    client = instance.client()

    def start(done: Callable[[Any], None]) -> None:
        left = jobs

        def accepted(response: Message, _: object) -> None:
            nonlocal left
            left -= 1
            if response.errnum:
                done(response.error())
            elif not left:
                done(None)

        for _ in range(jobs):
            client.request(SUBMIT, submission(round(0.5 + 2 * draw.random(), 3)), accepted)

    await instance.broker(0).endpoint.occurrence(start)
    client.close()


async def _drain(instance: Instance) -> None:
    client = instance.client()
    await client.call("job-manager.drain")
    client.close()
