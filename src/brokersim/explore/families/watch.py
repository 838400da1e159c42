"""Knows kvs-watch as clients use it: what a watch delivers is in order and once, and in the end all of it."""

from __future__ import annotations

import base64
import random

from brokersim.explore.families import kvs, spaces
from brokersim.explore.families.family import Family
from brokersim.explore.families.written import short, value_of
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING

_WATCH, _WAITCREATE, _APPEND = 4, 8, 256
#: What it takes of the kvs, so that there is something to watch.
_WRITES = ("put", "append", "create", "remove", "fill")


def _log(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice(kvs.APPEND_KEYS), "flags": _WATCH | _WAITCREATE | _APPEND}


def _value(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice(kvs.PUT_KEYS), "flags": _WATCH | _WAITCREATE}


def _inside(_rng: random.Random, _: int) -> JsonObject:
    return {"key": spaces.KEY, "flags": _WATCH | _WAITCREATE, "space": spaces.SPACE}


def _cancel(rng: random.Random, number: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _watch(world: World, step: Step) -> None:
    space = step.args.get("space", spaces.PRIMARY)
    payload = {"namespace": space, "key": step.args["key"], "flags": step.args["flags"]}
    world.ask(step, "kvs-watch.lookup", payload, flags=FLAG_STREAMING)


def _one_of(world: World, step: Step) -> Asked | None:
    """One of the open watches of this rank."""
    open_ones = [
        asked
        for asked in _watches(world)
        if asked.answered is None and asked.step.rank == step.rank and asked.client.is_open
    ]
    return open_ones[step.args["which"] % len(open_ones)] if open_ones else None


def _do_cancel(world: World, step: Step) -> None:
    """Cancel a watch, by the client that has it."""
    asked = _one_of(world, step)
    if asked is not None:
        world.kept.setdefault("cancelled", {})[asked.step.id] = None
        asked.client.request("kvs-watch.cancel", {"matchtag": asked.matchtag})


def _do_leave(world: World, step: Step) -> None:
    """The client of a watch goes, and those of others stay."""
    asked = _one_of(world, step)
    if asked is not None:
        asked.client.close()


def _watches(world: World) -> list[Asked]:
    return [asked for asked in world.asked if asked.topic == "kvs-watch.lookup"]


def _told(asked: Asked) -> list[str]:
    return [
        base64.b64decode(value["val"]["data"]).decode()
        for value in asked.values
        if value["val"]["type"] == "val"
    ]


async def _check(world: World) -> list[str]:
    broken = await kvs.check(world)
    cancelled = world.kept.get("cancelled", {})
    for asked in _watches(world):
        is_disturbed = any((rank, "kvs-watch") in world.disturbed for rank in (0, asked.step.rank))
        is_open = asked.client.is_open and asked.answered is None
        if asked.step.id in cancelled and is_open and not is_disturbed:
            broken.append(f"watch: {asked} was cancelled and has not ended")
        if not asked.client.is_open:
            continue
        key, space = asked.step.args["key"], asked.payload["namespace"]
        if space != spaces.PRIMARY:
            is_disturbed |= (0, "kvs") in world.disturbed or bool(world.were_down)
            if is_open and not is_disturbed and _is_gone(world, asked):
                broken.append(f"watch: {asked} has not ended, and its namespace was removed")
            if any(one.topic == "kvs.namespace-remove" for one in world.asked):
                continue
        try:
            value = await value_of(world, key, 0, space)
        except RequestError:
            continue  # the kvs says so itself
        told = _told(asked)
        is_live = asked.answered is None and not is_disturbed
        judge = _judge_log if asked.step.args["flags"] & _APPEND else _judge_values
        found = judge(world, asked, told, value, is_live)
        if found:
            broken.append(f"watch: of {key} on rank {asked.step.rank} (step {asked.step.id}): {found}")
    return broken


def _is_gone(world: World, asked: Asked) -> bool:
    """It was told something, and since then its namespace was removed and not made again."""
    made = [one.sent for one in world.asked if one.topic == "kvs.namespace-create"]
    removals = [one for one in world.asked if one.topic == "kvs.namespace-remove" and one.is_acked]
    return bool(asked.values) and any(gone.sent > max([asked.sent, *made]) for gone in removals)


def _judge_log(_: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    whole, text = value or "", "".join(told)
    if not whole.startswith(text):
        return f"was told {short(text)}, and there is {short(whole)}"
    if is_live and text != whole:
        return f"was told no more than {short(text)} of {short(whole)}"
    return ""


def _judge_values(world: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    if is_live and value is not None and (not told or told[-1] != value):
        return f"was told {', '.join(map(short, told)) or 'nothing'}, and there is {short(value)}"
    writes = {
        write.step.args["value"]: write
        for write in world.asked
        if write.topic == "kvs.commit" and write.step.args.get("value")
    }
    for at, one in enumerate(told):
        before = writes.get(one)
        if before is None:
            return f"was told {short(one)}, which nobody wrote"
        if one in told[at + 1 :] and is_live:
            return f"was told {short(one)} twice"
        for later in told[at + 1 :]:
            after = writes.get(later)
            if after is not None and after.answered is not None and after.answered < before.sent:
                return f"was told {short(later)} after {short(one)}, which is newer"
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
        "kvs.commit",
    ),
    draws={
        "log": _log,
        "value": _value,
        "inside": _inside,
        "cancel": _cancel,
        "leave": _cancel,
        **{verb: kvs.KVS.draws[verb] for verb in _WRITES},
    },
    does={
        "log": _watch,
        "value": _watch,
        "inside": _watch,
        "cancel": _do_cancel,
        "leave": _do_leave,
        **{verb: kvs.KVS.does[verb] for verb in _WRITES},
    },
    check=_check,
    lossy=kvs.KVS.lossy,
)
