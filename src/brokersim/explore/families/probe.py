"""Knows probes as clients use them: a measurement that was added is there and runs, one that was removed is not."""

from __future__ import annotations

import random
from typing import Any

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError

_NAMES = ("m0", "m1")
#: Seconds in which what is there runs at least once more: the longest period twice.
_WATCHED = 2.0
_CHANGES = {"probe.add", "probe.remove"}


def _add(rng: random.Random, _: int) -> JsonObject:
    return {"name": rng.choice(_NAMES), "every": rng.choice((0.1, 0.5, 1.0))}


def _one(rng: random.Random, _: int) -> JsonObject:
    return {"name": rng.choice(_NAMES)}


def _record(every: float) -> JsonObject:
    schedule = {"type": "every", "params": {"every": every}}
    return {
        "probe": "replay",
        "config": {"readings": [{"v": 1}]},
        "schedule": schedule,
        "reporting": {"sinks": []},
    }


def _do_add(world: World, step: Step) -> None:
    payload = {"name": step.args["name"], "record": _record(step.args["every"])}
    world.ask(step, "probe.add", payload, nodeid=step.rank)


def _do_set(world: World, step: Step) -> None:
    record = {"schedule": {"type": "every", "params": {"every": step.args["every"]}}}
    world.ask(step, "probe.set", {"name": step.args["name"], "record": record}, nodeid=step.rank)


def _named(verb: str) -> Any:
    return lambda world, step: world.ask(step, f"probe.{verb}", {"name": step.args["name"]}, nodeid=step.rank)


async def _check(world: World) -> list[str]:
    broken = []
    for rank in world.up():
        if (rank, "probe") in world.disturbed:
            continue  # what it was told goes with it, as its file does not change
        try:
            before = await _runs(world, rank)
            await world.instance.sleep(_WATCHED)
            after = await _runs(world, rank)
        except RequestError as error:
            broken.append(f"probe: no status on rank {rank} at rest: {error}")
            continue
        broken += [found for name in _NAMES if (found := _judge(world, rank, name, name in after))]
        broken += [
            f"probe: {name} on rank {rank} is there and did not run for {_WATCHED} s"
            for name in before
            if after.get(name, 0) <= before[name]
        ]
    return broken


async def _runs(world: World, rank: int) -> dict[str, int]:
    """Runs of each measurement of a rank that is there."""
    client = world.client(Step(id=-5, op="probe.look"), rank)
    try:
        status = await client.call("probe.status", None, rank)
    finally:
        client.close()
    return {one["name"]: one["counts"].get("runs", 0) for one in status["measurements"]}


def _judge(world: World, rank: int, name: str, is_there: bool) -> str:
    changes = [
        asked
        for asked in world.asked
        if asked.topic in _CHANGES and (asked.step.rank, asked.step.args["name"]) == (rank, name)
    ]
    added = [asked for asked in changes if asked.topic == "probe.add"]
    removed = [asked for asked in changes if asked.topic == "probe.remove"]
    if is_there and not _stands(added, [one for one in removed if one.is_acked]):
        return f"probe: {name} on rank {rank} was removed since it was added, and is there"
    sure = [one for one in added if one.is_acked]
    if not is_there and sure and not _stands(removed, sure):
        return f"probe: {name} on rank {rank} was added since it was removed, and is gone"
    return ""


def _stands(these: list[Asked], others: list[Asked]) -> bool:
    """One of these changes was not followed by one of the others."""
    return any(
        one.answered is None or not any(other.sent > one.answered for other in others) for one in these
    )


PROBE = Family(
    name="probe",
    modules=("probe",),
    topics=("probe.add", "probe.set", "probe.remove", "probe.restart", "probe.run-now", "probe.status"),
    draws={"add": _add, "set": _add, "remove": _one, "restart": _one, "now": _one},
    does={
        "add": _do_add, "set": _do_set, "remove": _named("remove"), "restart": _named("restart"),
        "now": _named("run-now"),
    },
    check=_check,
)  # fmt: skip
