"""Knows what eventlogs of jobs must say beside each other and beside what clients were told; not how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Final, TypeAlias

from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject

#: The events of a job.
Log: TypeAlias = list[JsonObject]
#: What comes in this order, whichever of it come (RFC 21).
_ORDER: Final = ("submit", "validate", "depend", "alloc", "start", "finish", "release", "free", "clean")
#: What came before one of these, if that came.
_NEEDS: Final = {
    "depend": ("validate",), "priority": ("depend",), "alloc": ("priority",), "start": ("alloc",),
    "finish": ("start",), "clean": ("submit",),
}  # fmt: skip
#: What a dependency wants of the other's end.
_WANTS: Final = {"afterok": True, "afternotok": False}
#: Seconds that messages between the modules may take in all: far more than the delays of one example add up to.
SLACK: Final = 0.5


def judge(world: World, jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[str]:
    """What is wrong with orders of events, holds, dependencies, waits, places in the queue, and ends that were due."""
    found = [f"jobs: job {job} {text}" for job, log in logs.items() for text in (*_order(log), *_held(log))]
    found += _dependencies(world, jobs, logs)
    found += _waits(world, jobs, logs)
    if is_calm(world):
        found += _overtaken(jobs, logs)
        found += _undone(world, logs)
    return found


def is_calm(world: World, but: str = "") -> bool:
    """Nothing went wrong where jobs are managed, but for what ended or loaded anew one module."""
    hit = any(rank == 0 and name != but for rank, name in world.disturbed)
    return not (hit or world.failing or world.life)


def when(log: Log, name: str) -> float | None:
    """The first event of a name (s since the epoch), None if there is none."""
    return next((event["timestamp"] for event in log if event["name"] == name), None)


def _order(log: Log) -> list[str]:
    places = [_ORDER.index(event["name"]) for event in log if event["name"] in _ORDER]
    names = " ".join(event["name"] for event in log)
    return [] if places == sorted(places) else [f"has its events in a wrong order: {names}"]


def gaps(log: Log) -> list[str]:
    """What must have happened stands there, also after a commit that failed and was tried again."""
    names = [event["name"] for event in log]
    lost = [need for name, needs in _NEEDS.items() if name in names for need in needs if need not in names]
    return [f"has no {' and no '.join(lost)}: {' '.join(names)}"] if lost else []


def _held(log: Log) -> list[str]:
    """With urgency 0 it gets no resources, unless they were on their way when it was held."""
    urgency, since = 16, 0.0
    for event in log:
        if event["name"] in ("submit", "urgency"):
            urgency = event["context"]["urgency"]
            since = 0.0 if event["name"] == "submit" else event["timestamp"]
        if event["name"] == "alloc" and not urgency and event["timestamp"] > since + SLACK:
            return ["was held, and got resources"]
    return []


def _dependencies(world: World, jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[str]:
    broken = []
    for asked in jobs:
        scheme, other = world.kept.get("after", {}).get(asked.step.id, ("", 0))
        log = logs.get(asked.value["id"], [])
        ready = when(log, "depend")
        if ready is None or other not in logs:
            continue
        over = when(logs[other], "start" if scheme == "after" else "clean")
        if over is None or ready < over:
            broken.append(
                f"jobs: job {asked.value['id']} went on {scheme} job {other}, which had not come so far"
            )
        elif scheme in _WANTS and succeeded(logs[other]) != _WANTS[scheme]:
            how = "failed" if _WANTS[scheme] else "succeeded"
            broken.append(f"jobs: job {asked.value['id']} went on {scheme} job {other}, which {how}")
    return broken


def succeeded(log: Log) -> bool:
    """It ran to its end with status 0 and no fatal exception."""
    fatal = any(event["name"] == "exception" and not event["context"]["severity"] for event in log)
    return not fatal and any(event["name"] == "finish" and not event["context"]["status"] for event in log)


def _waits(world: World, jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[str]:
    """Who waits for the end of one, or of all, is told then. A request that came meanwhile may be the later one."""
    broken = []
    for wait in world.asked:
        if wait.topic not in ("job-manager.wait", "job-manager.drain") or not wait.client.is_open:
            continue
        if wait.answered is None:
            broken.append(f"jobs: {wait} was never answered, and no job is active")
        if not wait.is_acked:
            continue
        wanted = (wait.payload or {}).get("id")
        for job in jobs:
            number = job.value["id"]
            concerns = number == wanted if wanted else (job.answered or 0) < wait.sent
            end = when(logs.get(number, []), "clean")
            if concerns and end is not None and end > wait.told:
                broken.append(f"jobs: {wait} was answered before the end of job {number}")
            elif wanted and concerns and end is not None and wait.value["success"] != succeeded(logs[number]):
                broken.append(f"jobs: {wait} was told {wait.value}, and its log says otherwise")
    return broken


def _overtaken(jobs: Sequence[Asked], logs: Mapping[int, Log]) -> list[str]:
    """No job gets resources before one that comes first, by urgency, then by age: there is no backfilling."""
    queued = {}
    for asked in jobs:
        log = logs.get(asked.value["id"], [])
        ready, given = when(log, "priority"), when(log, "alloc")
        if ready is not None and given is not None:
            ready = max([ready, *(event["timestamp"] for event in log if event["name"] == "urgency")])
            last = [event["context"]["priority"] for event in log if event["name"] == "priority"][-1]
            queued[asked.value["id"]] = ((-last, when(log, "submit")), ready, given)
    return [
        f"jobs: job {low} got resources; job {high}, which comes first, had waited for {theirs[2] - ours[1]:.1f} s"
        for (high, ours), (low, theirs) in permutations(queued.items(), 2)
        if ours[0] < theirs[0] and ours[1] + SLACK < theirs[2] < ours[2]
    ]


def _undone(world: World, logs: Mapping[int, Log]) -> list[str]:
    """A job that was cancelled or killed is over soon."""
    broken = []
    for asked in world.asked:
        if asked.topic not in ("job-manager.raise", "job-manager.kill") or not asked.is_acked:
            continue
        log = logs.get(asked.payload["id"], [])
        end = when(log, "clean")
        if end is not None and end > asked.told + SLACK:
            broken.append(f"jobs: {asked} was acknowledged, and the job went on for {end - asked.told:.1f} s")
    return broken
