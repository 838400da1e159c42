"""Knows the namespaces and versions of the kvs as clients use them: who waits for one is told, and never too early."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from brokersim.explore.families.written import judge_value, kept_of, value_of
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EEXIST, ENOTSUP, RequestError

PRIMARY: Final = "primary"
#: One beside it is enough to come, to go, and to come again.
SPACE: Final = "n1"
KEY: Final = "f"


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _fill(_rng: random.Random, number: int) -> JsonObject:
    return {"key": f"{SPACE}:{KEY}", "value": f"<{number}>"}


def _wait(rng: random.Random, _: int) -> JsonObject:
    return {"space": rng.choice((PRIMARY, PRIMARY, SPACE)), "version": rng.choice((1, 1, 2, 3, 6))}


def _which(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _do_create(world: World, step: Step) -> None:
    world.ask(step, "kvs.namespace-create", {"namespace": SPACE, "owner": -1, "flags": 0})


def _do_remove(world: World, step: Step) -> None:
    world.ask(step, "kvs.namespace-remove", {"namespace": SPACE})


def _do_fill(world: World, step: Step) -> None:
    """A put in the namespace; if nobody has asked for that one yet, it is made first."""
    if _asked(world, "kvs.namespace-create"):
        _put(world, step)
    else:
        payload = {"namespace": SPACE, "owner": -1, "flags": 0}
        world.ask(step, "kvs.namespace-create", payload, lambda made: _put(world, made.step))


def _put(world: World, step: Step) -> None:
    if step.rank in world.down:
        return
    op = {"key": KEY, "flags": 0, "dirent": treeobj.val(step.args["value"].encode())}
    world.ask(step, "kvs.commit", {"namespace": SPACE, "flags": 0, "ops": [op]})


def _do_wait(world: World, step: Step) -> None:
    payload = {"namespace": step.args["space"], "rootseq": step.args["version"]}
    world.ask(step, "kvs.wait-version", payload, may_wait=True)


def _do_leave(world: World, step: Step) -> None:
    """One who waits on this rank goes; others go on waiting."""
    world.leave(step, "kvs.wait-version")


DRAWS: Final[Mapping[str, Callable[[random.Random, int], JsonObject]]] = {
    "create": _none, "remove": _none, "fill": _fill, "wait": _wait, "leave": _which,
}  # fmt: skip
DOES: Final[Mapping[str, Callable[[World, Step], object]]] = {
    "create": _do_create, "remove": _do_remove, "fill": _do_fill, "wait": _do_wait, "leave": _do_leave,
}  # fmt: skip
FAIR: Final[Mapping[str, tuple[int, ...]]] = {
    "create": (EEXIST,), "remove": (), "fill": (EEXIST, ENOTSUP), "wait": (ENOTSUP,),
}  # fmt: skip


def _asked(world: World, topic: str) -> list[Asked]:
    return [asked for asked in world.asked if asked.topic == topic]


async def check(world: World) -> list[str]:
    """What is wrong with them. A namespace lives as long as rank 0's kvs."""
    if world.life or (0, "kvs") in world.disturbed:
        return []
    broken = [found for wait in _asked(world, "kvs.wait-version") for found in await _judge_wait(world, wait)]
    return broken + await _judge_space(world)


async def _judge_wait(world: World, wait: Asked) -> list[str]:
    space, version, rank = wait.payload["namespace"], wait.payload["rootseq"], wait.step.rank
    what = f"kvs: step {wait.step.id} waits for version {version} of {space} on rank {rank}"
    if wait.is_acked:
        seq = wait.value["rootseq"]
        return [f"{what} and was told at {seq}"] if seq < version else []
    if (
        wait.answered is not None
        or not wait.client.is_open
        or rank in world.were_down
        or (rank, "kvs") in world.disturbed
    ):
        return []
    try:
        seq = (await world.call("kvs.getroot", {"namespace": space}, rank))["rootseq"]
    except RequestError as error:
        return [f"{what}, where there is none any more: {error}"]
    return [f"{what}, which has version {seq}"] if seq >= version else []


async def _judge_space(world: World) -> list[str]:
    made = [asked for asked in _asked(world, "kvs.namespace-create") if asked.is_acked]
    removals = _asked(world, "kvs.namespace-remove")
    try:
        found = await world.call("kvs.namespace-list")
    except RequestError as error:
        return [f"kvs: its namespaces cannot be listed at rest: {error}"]
    is_there = any(one["namespace"] == SPACE for one in found["namespaces"])
    if made and not removals:
        return await _judge_fills(world) if is_there else [f"kvs: {SPACE} was created, and is not there"]
    last = [one for one in removals if one.is_acked]
    asked_for = _asked(world, "kvs.namespace-create")
    if is_there and any(all((new.answered or 0) < gone.sent for new in asked_for) for gone in last):
        return [f"kvs: {SPACE} was removed since it was created, and is there"]
    if last and not any((new.answered is None or new.answered > last[-1].sent) for new in asked_for):
        return await _judge_gone(world)
    return []


async def _judge_gone(world: World) -> list[str]:
    """No rank has what was removed for good. One that a fault hit meanwhile may have asked for it anew."""
    broken = []
    for rank in world.up():
        if rank in world.were_down or (rank, "kvs") in world.disturbed:
            continue
        try:
            await world.call("kvs.getroot", {"namespace": SPACE}, rank)
        except RequestError:
            continue
        broken.append(f"kvs: {SPACE} was removed, and rank {rank} has it at rest")
    return broken


async def _judge_fills(world: World) -> list[str]:
    writes = [one for one in world.asked if one.topic == "kvs.commit" and one.payload["namespace"] == SPACE]
    kept, broken = kept_of(world, writes), []
    for rank in world.up() if writes else ():
        try:
            value = await value_of(world, KEY, rank, SPACE)
        except RequestError as error:
            broken.append(f"kvs: {KEY} of {SPACE} cannot be read on rank {rank} at rest: {error}")
            continue
        found = judge_value(writes, kept, value)
        if found:
            broken.append(f"kvs: {KEY} of {SPACE} on rank {rank} at rest: {found}")
    return broken
