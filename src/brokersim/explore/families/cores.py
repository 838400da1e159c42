"""Knows which cores jobs had, when, and who should have had them: none twice, none idle while somebody waits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs
import msgspec

from brokersim.explore.families import joblogs
from brokersim.explore.families.joblogs import SLACK, Log, when
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError

Core = tuple[str, int]


@attrs.frozen(kw_only=True)
class _Place:
    """One job's place in the queue: times in s since the epoch, infinite for what never came."""

    job: int
    cores: int
    priority: int
    submitted: float
    #: It waits from then on, until it is given cores, or is doomed.
    ready: float
    given: float
    doomed: float
    freed: float

    @property
    def order(self) -> tuple[int, float, int]:
        return -self.priority, self.submitted, self.job

    def waits(self, since: float, until: float) -> bool:
        """All that time."""
        return self.ready <= since and until < min(self.given, self.doomed)

    def may_wait(self, since: float, until: float) -> bool:
        """At some moment of that time."""
        return self.ready <= until and since < min(self.given, self.doomed)

    def may_hold(self, since: float, until: float) -> bool:
        return self.given <= until and since < self.freed


async def judge(world: World, jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[str]:
    """What is wrong with who had which cores."""
    spans = [(job, *span) for job in logs if (span := await _span(world, job, logs[job])) is not None]
    broken = _overlaps(spans)
    try:
        status = await world.call("sched.resource-status")
    except RequestError as error:
        return [*broken, f"jobs: sched does not answer at rest: {error}"]
    held = _lite(status.get("allocated"))
    broken += [f"jobs: cores are allocated at rest: {held}"] if held else []
    # One remembers who is drained, the other asks it; a scheduler that comes while nobody knows gives out all.
    if joblogs.is_calm(world, "resource") or joblogs.is_calm(world, "sched"):
        broken += _drained(world, logs)
    if joblogs.is_calm(world):
        nodes = {rank for rank, _ in _cores_of(_lite(status["all"]))}
        # One that was forgotten, or of which nobody was told, may have had what seems free.
        is_known = len(logs) == sum(one.topic == "job-ingest.submit" for one in world.asked)
        since = _given_again(world)
        if is_known and len(nodes) == 1 and since is not None:
            broken += starved(places(jobs, logs), len(_cores_of(_lite(status["all"]))), since)
    return broken


def _lite(r: JsonObject | None) -> list[JsonObject]:
    return r["execution"]["R_lite"] if r else []


async def _span(world: World, job: int, log: Log) -> tuple[float, float, set[Core]] | None:
    """From when to when it had which cores."""
    given, freed = when(log, "alloc"), when(log, "free")
    if given is None:
        return None
    try:
        found = await world.call("job-info.lookup", {"id": job, "keys": ["R"], "flags": 0})
    except RequestError:
        return None
    cores = _cores_of(_lite(msgspec.json.decode(found["R"])))
    return given, math.inf if freed is None else freed, cores


def _cores_of(lite: Iterable[JsonObject]) -> set[Core]:
    return {
        (str(rank), core)
        for entry in lite
        for rank in _ids(str(entry["rank"]))
        for core in _ids(entry["children"]["core"])
    }


def _ids(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _overlaps(spans: Sequence[tuple[int, float, float, set[Core]]]) -> list[str]:
    return [
        f"jobs: jobs {one[0]} and {other[0]} had the same cores at one time: {sorted(one[3] & other[3])}"
        for at, one in enumerate(spans)
        for other in spans[at + 1 :]
        if one[3] & other[3] and max(one[1], other[1]) < min(one[2], other[2])
    ]


def _drained(world: World, logs: Mapping[int, Log]) -> list[str]:
    """While the node was drained, by whomever until by whomever, nobody was given anything.

    What was given before is told when R has been written, a commit later.
    """
    broken, slack = [], min(SLACK, 3 * world.slack)
    for away in world.of("jobs.away"):
        back = [one.asked_at for one in world.of("jobs.back") if one.asked_at >= away.asked_at]
        if away.topic != "resource.drain" or not away.is_acked or not back:
            continue
        for job, log in logs.items():
            given = when(log, "alloc")
            if given is not None and away.told + slack < given < min(back):
                broken.append(
                    f"jobs: job {job} was given cores of a node that was drained by step {away.step.id}"
                )
    return broken


def _given_again(world: World) -> float | None:
    """Since when (s since the epoch) nobody has drained the node any more, None if that cannot be told."""
    changes = [*world.of("jobs.away"), *world.of("jobs.back")]
    ends = [one.told for one in world.of("jobs.back")]
    return max([-math.inf, *ends]) if all(one.is_acked for one in changes) else None


def places(jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[_Place]:
    """Of all jobs that came so far as to wait for cores."""
    found = []
    for asked in jobs:
        log = logs.get(asked.value["id"], [])
        ready = when(log, "priority")
        if ready is None:
            continue
        last = [event["context"]["priority"] for event in log if event["name"] == "priority"][-1]
        changes = [event["timestamp"] for event in log if event["name"] == "urgency"]
        found.append(
            _Place(
                job=asked.value["id"], cores=asked.step.args.get("cores", 1), priority=last,
                submitted=when(log, "submit") or ready, ready=max([ready, *changes]), given=_time(log, "alloc"),
                doomed=min(_time(log, "exception"), _time(log, "clean")), freed=_time(log, "free"),
            )
        )  # fmt: skip
    return found


def _time(log: Log, name: str) -> float:
    found = when(log, name)
    return math.inf if found is None else found


def starved(queue: Sequence[_Place], cores: int, start: float = -math.inf) -> list[str]:
    """Who was first in the queue, from ``start`` on, and waited though there were as many cores as it asks for."""
    broken = []
    changes = [turn for one in queue for turn in (one.ready, one.freed, one.doomed, one.given)]
    turns = [turn for turn in (start, *changes) if start <= turn < math.inf]
    for one in queue:
        for since in turns:
            until = since + SLACK
            if not one.priority or not one.waits(since, until):
                continue
            others = [other for other in queue if other is not one]
            is_first = not any(other.order < one.order and other.may_wait(since, until) for other in others)
            free = cores - sum(other.cores for other in others if other.may_hold(since, until))
            if is_first and one.cores <= free:
                broken.append(
                    f"jobs: job {one.job} waited for {one.cores} cores, first of all, while {free} were free"
                )
                break
    return broken
