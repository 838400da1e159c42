"""Knows kvs-watch as clients use it: what a watch delivers is in order and once, and in the end all of it."""

from __future__ import annotations

import base64
import math
import random
from typing import Any

from brokersim.explore.families import kvs, spaces
from brokersim.explore.families.family import Family
from brokersim.explore.families.written import short, value_of
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, ENODATA, ENOENT, ENOTSUP, RequestError, errname
from brokersim.protocol.message import FLAG_STREAMING

_WATCH, _WAITCREATE, _FULL, _UNIQ, _APPEND, _SENTINEL = 4, 8, 64, 128, 256, 1024
#: What it takes of the kvs, so that there is something to watch.
_WRITES = ("put", "unlink", "append", "clash", "create", "remove", "fill")


#: A log that comes, grows and goes: of what the kvs keeps nobody is to judge it.
_ENDS = "e1"


def _log(rng: random.Random, _: int) -> JsonObject:
    return _by(rng, rng.choice((*kvs.APPEND_KEYS, _ENDS)), _APPEND | rng.choice((0, 0, _SENTINEL)))


def _grow(rng: random.Random, number: int) -> JsonObject:
    return {**kvs.KVS.draws["append"](rng, number), "key": _ENDS}


def _end(_rng: random.Random, _: int) -> JsonObject:
    return {"key": _ENDS}


def _value(rng: random.Random, _: int) -> JsonObject:
    flags = rng.choice((0, 0, _UNIQ, _FULL))
    keys = (*kvs.PUT_KEYS, kvs.TREE_KEY) if flags == _FULL else kvs.PUT_KEYS
    return _by(rng, rng.choice((*keys, *kvs.UNLINK_KEYS)), flags)


def _inside(rng: random.Random, _: int) -> JsonObject:
    return {**_by(rng, spaces.KEY, 0), "space": spaces.SPACE}


def _by(rng: random.Random, key: str, flags: int) -> JsonObject:
    """One watch in four is of a client that has one already; most may begin before there is anything."""
    beside = rng.choice((None, None, None, 0))
    return {"key": key, "flags": _WATCH | flags | rng.choice((_WAITCREATE,) * 4 + (0,)), "beside": beside}


def _cancel(rng: random.Random, number: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _watch(world: World, step: Step) -> None:
    space = step.args.get("space", spaces.PRIMARY)
    payload = {"namespace": space, "key": step.args["key"], "flags": step.args["flags"]}
    beside = step.args.get("beside")
    other = None if beside is None else _one_of(world, step, beside)
    client = None if other is None else other.client
    world.ask(step, "kvs-watch.lookup", payload, flags=FLAG_STREAMING, client=client)


def _one_of(world: World, step: Step, which: int) -> Asked | None:
    """One of the open watches of this rank."""
    open_ones = [
        asked
        for asked in _watches(world)
        if asked.answered is None and asked.step.rank == step.rank and asked.client.is_open
    ]
    return open_ones[which % len(open_ones)] if open_ones else None


def _do_cancel(world: World, step: Step) -> None:
    """Cancel a watch, by the client that has it."""
    asked = _one_of(world, step, step.args["which"])
    if asked is not None:
        world.kept.setdefault("cancelled", {})[asked.step.id] = None
        asked.client.request("kvs-watch.cancel", {"matchtag": asked.matchtag})


def _do_leave(world: World, step: Step) -> None:
    """The client of a watch goes, and those of others stay."""
    world.leave(step, "kvs-watch.lookup")


def _watches(world: World) -> list[Asked]:
    return [asked for asked in world.asked if asked.topic == "kvs-watch.lookup"]


def _told(asked: Asked) -> list[str]:
    return _said(asked.values)


def _said(values: list[Any]) -> list[str]:
    return [
        base64.b64decode(value["val"]["data"]).decode()
        for value in values
        if value is not None and value["val"]["type"] == "val"
    ]


async def _check(world: World) -> list[str]:
    broken = await kvs.check(world)
    cancelled: dict[int, None] = world.kept.get("cancelled", {})
    for asked in _watches(world):
        is_disturbed = any((rank, "kvs-watch") in world.disturbed for rank in (0, asked.step.rank))
        is_open = asked.client.is_open and asked.answered is None
        if asked.step.id in cancelled and is_open and not is_disturbed:
            broken.append(f"watch: {asked} was cancelled and has not ended")
        if not asked.client.is_open:
            continue
        if _is_calm(world):
            broken += [
                f"watch: {asked} {found}"
                for found in (_ending(world, asked, cancelled), _sentinels(world, asked))
                if found
            ]
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
        if not asked.step.args["flags"] & _APPEND:
            found = _judge_values(world, asked, told, value, is_live)
        elif key == _ENDS and world.of(f"{WATCH.name}.end"):
            found = _judge_end(world, asked, told, value, is_live)
        else:
            found = _judge_log(told, value, is_live)
        if found:
            broken.append(f"watch: of {key} on rank {asked.step.rank} (step {asked.step.id}): {found}")
    return broken + await _left(world)


def _is_calm(world: World) -> bool:
    """Nothing went wrong that a watch may end by: it needs the kvs and what that reads from."""
    return not (world.disturbed or world.failing or world.were_down or world.life)


def _ending(world: World, asked: Asked, cancelled: dict[int, None]) -> str:
    """What is wrong with how it ended, if it did, while nothing else went wrong."""
    if asked.answered is None or (asked.errnum == ENODATA and asked.step.id in cancelled):
        return ""
    is_inside = asked.payload["namespace"] != spaces.PRIMARY
    fair: tuple[int, ...] = (ENOTSUP,) if is_inside else ()
    was_unlinked = any(
        one.step.args["key"] == asked.step.args["key"]
        for verb in ("unlink", "end")
        for one in world.of(f"{WATCH.name}.{verb}")
    )
    if was_unlinked and asked.step.args["flags"] & _APPEND:
        fair = (*fair, EINVAL)  # it came again in the same commit, and is another
    if was_unlinked or (not asked.step.args["flags"] & _WAITCREATE and not asked.values):
        fair = (*fair, ENOENT)
    return "" if asked.errnum in fair else f"ended with {errname(asked.errnum)} {asked.text}".rstrip()


def _sentinels(world: World, asked: Asked) -> str:
    """One that is asked for comes once, behind what there was at the start."""
    count, wanted = asked.values.count(None), int(bool(asked.step.args["flags"] & _SENTINEL))
    if count > wanted or (asked.answered is None and count != wanted):
        return f"was given {count} sentinels"
    if not count:
        return ""
    first = asked.values.index(None)
    told = "".join(_said(asked.values[:first]))
    for write in world.of(f"{WATCH.name}.append"):
        token = write.step.args["value"]
        is_old = write.is_acked and write.step.args["key"] == asked.step.args["key"]
        if is_old and write.said + world.slack < asked.when and token not in told:
            since = asked.when - write.said
            return f"was given its sentinel before {short(token)}, which had been there for {since:.3f} s"
    return ""


async def _left(world: World) -> list[str]:
    """Whom nobody has any more is not served: as many watch on a rank as have not ended there."""
    if any(module.name == "job-info" for module in world.instance.modules(0)):
        return []  # it watches, too
    if not _is_calm(world):
        return []  # while there was none on a rank, the one above it served
    broken = []
    for rank in world.up():
        there = [one for one in _watches(world) if one.step.rank == rank]
        wanted = sum(one.answered is None and one.client.is_open for one in there)
        found = (await world.call("kvs-watch.stats-get", None, rank))["watchers"]
        if found != wanted:
            broken.append(
                f"watch: {found} watches are served on rank {rank} at rest, and clients have {wanted}"
            )
    return broken


def _is_gone(world: World, asked: Asked) -> bool:
    """It was told something, and since then its namespace was removed and not made again."""
    made = [one.answered or math.inf for one in world.asked if one.topic == "kvs.namespace-create"]
    removals = [one for one in world.asked if one.topic == "kvs.namespace-remove" and one.is_acked]
    return bool(asked.values) and any(gone.sent > max([asked.sent, *made]) for gone in removals)


def _judge_log(told: list[str], value: str | None, is_live: bool) -> str:
    whole, text = value or "", "".join(told)
    if not whole.startswith(text):
        return f"was told {short(text)}, and there is {short(whole)}"
    if is_live and text != whole:
        return f"was told no more than {short(text)} of {short(whole)}"
    return ""


def _judge_end(world: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    """A log that may have gone, and begun again: who had been told something is told that; who may wait has been.

    One that has gone and begun again in one commit has only changed, and a watch goes on behind as much as it was told.
    """
    if is_live and bool(told) != (value is not None):
        return f"was told {short(''.join(told))}, and there is {short(value)}"
    if is_live or asked.answered is None or not _is_calm(world):
        return ""
    waits = asked.step.args["flags"] & _WAITCREATE
    return "was told nothing, and might have waited" if waits and asked.errnum == ENOENT and not told else ""


def _judge_values(world: World, asked: Asked, told: list[str], value: str | None, is_live: bool) -> str:
    if is_live and value is None and told:
        return f"was told {short(told[-1])}, and there is nothing: that ends it"
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
        "grow": _grow,
        "end": _end,
        **{verb: kvs.KVS.draws[verb] for verb in _WRITES},
    },
    does={
        "log": _watch,
        "value": _watch,
        "inside": _watch,
        "cancel": _do_cancel,
        "leave": _do_leave,
        "grow": kvs.KVS.does["append"],
        "end": kvs.KVS.does["unlink"],
        **{verb: kvs.KVS.does[verb] for verb in _WRITES},
    },
    check=_check,
    fair={"grow": (), "end": (), **{verb: kvs.KVS.fair[verb] for verb in _WRITES}},
    optional=("beside", "space"),
    never=kvs.KVS.never,
    themes=(
        ("log", "append"),
        ("log", "grow", "end"),
        ("value", "put"),
        ("value", "put", "unlink"),
        ("log", "value", "append", "put", "cancel", "leave"),
        ("inside", "fill", "remove"),
        ("inside", "fill", "create", "remove", "cancel"),
    ),
    events=kvs.KVS.events,
    lossy=kvs.KVS.lossy,
)
