"""Knows modules that come and go: what was loaded is there, what was removed is not, and who asks is answered."""

from __future__ import annotations

import random
from pathlib import Path

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject

#: Answers at once; and so loaded under two names.
_FILE = Path(__file__).with_name("answering.py")
_NAMES = ("one", "two")


def _name(rng: random.Random, _: int) -> JsonObject:
    return {"name": rng.choice(_NAMES)}


def _load(world: World, step: Step) -> None:
    payload = {"path": str(_FILE), "args": [], "name": step.args["name"]}
    world.ask(step, "module.load", payload, nodeid=step.rank)


def _remove(world: World, step: Step) -> None:
    world.ask(step, "module.remove", {"name": step.args["name"]}, nodeid=step.rank)


def _use(world: World, step: Step) -> None:
    world.ask(step, f"{step.args['name']}.ask", {"number": step.id}, nodeid=step.rank)


async def _check(world: World) -> list[str]:
    broken = [
        f"modules: {asked} was answered with {asked.value}"
        for asked in world.acked("modules.use")
        if asked.value != {"number": asked.step.id}
    ]
    for rank in world.up():
        if rank in world.were_down:
            continue
        there = {module.name for module in world.instance.modules(rank)}
        for name in _NAMES:
            changes = [
                asked
                for asked in world.asked
                if asked.topic in ("module.load", "module.remove")
                and (asked.step.rank, asked.step.args["name"]) == (rank, name)
            ]
            loaded = [asked for asked in changes if asked.topic == "module.load" and asked.is_acked]
            removed = [asked for asked in changes if asked.topic == "module.remove" and asked.is_acked]
            # Two that remove it at one time are both told that it is gone.
            if name in there and not _stands(loaded, removed):
                broken.append(f"modules: {name} was removed on rank {rank} since it was loaded, and is there")
            if name not in there and loaded and not _stands(removed, loaded):
                broken.append(f"modules: {name} was loaded on rank {rank} since it was removed, and is gone")
    return broken


def _stands(these: list[Asked], others: list[Asked]) -> bool:
    """One of these changes was not followed by one of the others."""
    return any(not any(other.sent > (one.answered or 0) for other in others) for one in these)


MODULES = Family(
    name="modules",
    modules=(),
    topics=("module.load", "module.remove", "one.ask", "two.ask", "welcome", "module.status"),
    draws={"load": _name, "remove": _name, "use": _name},
    does={"load": _load, "remove": _remove, "use": _use},
    check=_check,
)
