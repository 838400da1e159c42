"""Knows metrics as clients use them: what was observed and counted is told in one epoch, once, over the whole tree."""

from __future__ import annotations

import random
from functools import partial

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING

_STAT, _STREAM = "explored", "explored"
#: Seconds that an epoch may take: its timeout, and what a rank that was away takes to come back.
_TIMEOUT = 5.0
_ENDS = 3


def _observe(rng: random.Random, number: int) -> JsonObject:
    return {"key": rng.choice("ab"), "value": 10 ** rng.randrange(4) + number % 7}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _begin(world: World) -> None:
    """The stat is there from the start, its epochs ended by hand; what they bring is written down."""
    if world.life:
        return
    step = Step(id=-3, op="metrics.create")
    definition = {
        "name": _STAT, "epoch": 0, "timeout": _TIMEOUT, "retain": _retains(world),
        "reducers": [{"stream": _STREAM, "apply": ["sum"]}],
    }  # fmt: skip
    world.ask(step, "metrics.create", {"definition": definition}, lambda _: _follow(world))


def _retains(world: World) -> bool:
    """One plan in two has ranks keep what they sent until they are told that it is in."""
    return bool(world.instance.settings.seed % 2)


def _follow(world: World) -> None:
    told = world.ask(Step(id=-4, op="metrics.follow"), "metrics.log", {"name": _STAT}, flags=FLAG_STREAMING)
    world.kept["metrics"] = told
    for end in world.kept.pop("ends", ()):
        end()


def _do_observe(world: World, step: Step) -> None:
    payload = {"stream": _STREAM, "key": step.args["key"], "value": step.args["value"]}
    world.ask(step, "metrics.observe", payload, nodeid=step.rank)


def _do_end(world: World, step: Step) -> None:
    """As soon as somebody follows: an epoch that ends before that tells its rows to nobody."""
    if "metrics" in world.kept:
        _end(world, step)
    else:
        world.kept.setdefault("ends", []).append(partial(_end, world, step))


def _end(world: World, step: Step) -> None:
    if step.rank in world.down:
        return
    world.ask(step, "metrics.next-epoch", {"name": _STAT}, nodeid=0)


async def _check(world: World) -> list[str]:
    followed: Asked | None = world.kept.get("metrics")
    if followed is None or any(name == "metrics" for _, name in world.disturbed):
        return []  # who followed was on a rank whose module went; what that one had counted goes with it
    if world.slack > _TIMEOUT and not _retains(world):
        return []  # what comes behind an epoch and the next one, too, is nobody's
    try:
        for _ in range(_ENDS):  # what was late in one epoch is in the next
            await world.call("metrics.next-epoch", {"name": _STAT})
            await world.instance.sleep(_TIMEOUT + 1)
    except RequestError as error:
        return [f"metrics: no epoch can be ended at rest: {error}"]
    return [found for key in "ab" if (found := _judge(world, key, _told(followed, key)))]


def _told(followed: Asked, key: str) -> int:
    """What all epochs together say of a key."""
    rows = [row for value in followed.values for row in value.get("rows", ())]
    return sum(int(row["sum"]) for row in rows if key in row["key"].values())


def _judge(world: World, key: str, told: int) -> str:
    asked = [one for one in world.of("metrics.observe") if one.step.args["key"] == key]
    sure = sum(one.step.args["value"] for one in asked if one.is_acked and one.value["is_counted"])
    maybe = sum(one.step.args["value"] for one in asked if not one.is_acked)
    if sure <= told <= sure + maybe:
        return ""
    doubt = f" to {sure + maybe}" if maybe else ""
    return f"metrics: {key!r} was observed and counted {sure}{doubt}, and all epochs together say {told}"


METRICS = Family(
    name="metrics",
    modules=("content-cache", "content-sqlite", "kvs", "metrics"),
    topics=(
        "metrics.observe",
        "metrics.next-epoch",
        "metrics.collect",
        "metrics.define",
        "metrics.done",
        "metrics.credit",
    ),
    draws={"observe": _observe, "end": _none},
    does={"observe": _do_observe, "end": _do_end},
    check=_check,
    begin=_begin,
    makes={"observe": 1},
)
