"""Knows kvs-watch as clients use it: what a watch delivers is in order and once, and in the end all of it."""

from __future__ import annotations

import base64
import random

from brokersim.explore.families import kvs
from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING

_WATCH, _WAITCREATE, _APPEND = 4, 8, 256


def _log(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice(kvs.APPEND_KEYS), "flags": _WATCH | _WAITCREATE | _APPEND}


def _value(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice(kvs.PUT_KEYS), "flags": _WATCH | _WAITCREATE}


def _cancel(rng: random.Random, number: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _watch(world: World, step: Step) -> None:
    payload = {"namespace": "primary", "key": step.args["key"], "flags": step.args["flags"]}
    world.ask(step, "kvs-watch.lookup", payload, flags=FLAG_STREAMING)


def _do_cancel(world: World, step: Step) -> None:
    """Cancel one of the watches of this rank, by the client that has it."""
    open_ones = [
        asked
        for asked in _watches(world)
        if asked.answered is None and asked.step.rank == step.rank and asked.client.is_open
    ]
    if open_ones:
        asked = open_ones[step.args["which"] % len(open_ones)]
        world.kept.setdefault("cancelled", {})[asked.step.id] = None
        asked.client.request("kvs-watch.cancel", {"matchtag": asked.matchtag})


def _watches(world: World) -> list[Asked]:
    return [asked for asked in world.asked if asked.topic == "kvs-watch.lookup"]


def _told(asked: Asked) -> list[str]:
    return [
        base64.b64decode(value["val"]["data"]).decode()
        for value in asked.values
        if value["val"]["type"] == "val"
    ]


async def _check(world: World) -> list[str]:
    broken = []
    cancelled = world.kept.get("cancelled", {})
    for asked in _watches(world):
        is_disturbed = any((rank, "kvs-watch") in world.disturbed for rank in (0, asked.step.rank))
        is_open = asked.client.is_open and asked.answered is None
        if asked.step.id in cancelled and is_open and not is_disturbed:
            broken.append(f"watch: {asked} was cancelled and has not ended")
        if not asked.client.is_open:
            continue
        key = asked.step.args["key"]
        try:
            value = await kvs.value_of(world, key, 0)
        except RequestError:
            continue  # the kvs says so itself
        told = _told(asked)
        is_live = asked.answered is None and not is_disturbed
        judge = _judge_log if asked.step.args["flags"] & _APPEND else _judge_values
        found = judge(world, asked, told, value, is_live)
        if found:
            broken.append(f"watch: of {key} on rank {asked.step.rank} (step {asked.step.id}): {found}")
    return broken


def _judge_log(_: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    whole, text = value or "", "".join(told)
    if not whole.startswith(text):
        return f"was told {kvs.short(text)}, and there is {kvs.short(whole)}"
    if is_live and text != whole:
        return f"was told no more than {kvs.short(text)} of {kvs.short(whole)}"
    return ""


def _judge_values(world: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    if is_live and value is not None and (not told or told[-1] != value):
        return f"was told {', '.join(map(kvs.short, told)) or 'nothing'}, and there is {kvs.short(value)}"
    writes = {
        write.step.args["value"]: write
        for write in world.asked
        if write.topic == "kvs.commit" and write.step.args.get("value")
    }
    for at, one in enumerate(told):
        before = writes.get(one)
        if before is None:
            return f"was told {kvs.short(one)}, which nobody wrote"
        for later in told[at + 1 :]:
            after = writes.get(later)
            if after is not None and after.answered is not None and after.answered < before.sent:
                return f"was told {kvs.short(later)} after {kvs.short(one)}, which is newer"
    return ""


WATCH = Family(
    name="watch",
    modules=(*kvs.KVS.modules, "kvs-watch"),
    topics=(
        "kvs-watch.lookup",
        "kvs.namespace-primary-setroot",
        "kvs.lookup-plus",
        "kvs.getroot",
        "kvs-watch.cancel",
    ),
    draws={"log": _log, "value": _value, "cancel": _cancel},
    does={"log": _watch, "value": _watch, "cancel": _do_cancel},
    check=_check,
    lossy=kvs.KVS.lossy,
)
