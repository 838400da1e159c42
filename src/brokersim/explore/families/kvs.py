"""Knows the kvs as clients use it: what was committed and acknowledged is readable on every rank, appended once."""

from __future__ import annotations

import base64
import random

from brokersim.explore.families import spaces
from brokersim.explore.families.family import Family
from brokersim.explore.families.written import LONG, is_before, judge_value, kept_of, short, value_of
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, ENOTSUP, RequestError

_APPEND, _SYNC = 32, 4
#: Few keys, so that operations meet; some in a directory.
PUT_KEYS = ("p1", "d.p2")
#: Written as a whole directory: its name is in no commit.
TREE_KEY = "t.k"
UNLINK_KEYS = ("u1", "d.u2")
APPEND_KEYS = ("a1", "d.a2")


def _token(rng: random.Random, number: int) -> str:
    return f"<{number}>" + "." * (LONG if rng.random() < 0.4 else 0)


def _put(rng: random.Random, number: int) -> JsonObject:
    keys = (*PUT_KEYS, *UNLINK_KEYS, TREE_KEY)
    return {"key": rng.choice(keys), "value": _token(rng, number)}


def _unlink(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice(UNLINK_KEYS)}


def _append(rng: random.Random, number: int) -> JsonObject:
    return {"key": rng.choice(APPEND_KEYS), "value": _token(rng, number)}


def _pair(rng: random.Random, number: int) -> JsonObject:
    return {"key": rng.choice(APPEND_KEYS), "value": f"<{number}"}


def _get(rng: random.Random, _: int) -> JsonObject:
    return {"key": rng.choice((*PUT_KEYS, *UNLINK_KEYS, *APPEND_KEYS, TREE_KEY))}


def _clash(_rng: random.Random, number: int) -> JsonObject:
    return {"key": "l", "value": f"<{number}>"}


def _commit(world: World, step: Step, *ops: JsonObject, flags: int = 0, space: str = "primary") -> Asked:
    return world.ask(step, "kvs.commit", {"namespace": space, "flags": flags, "ops": list(ops)})


def _op(key: str, value: str | None, flags: int = 0) -> JsonObject:
    dirent = None if value is None else treeobj.val(value.encode())
    return {"key": key, "flags": flags, "dirent": dirent}


def _written(key: str, value: str) -> JsonObject:
    if key != TREE_KEY:
        return _op(key, value)
    folder, _, name = key.partition(".")
    return {"key": folder, "flags": 0, "dirent": treeobj.directory({name: treeobj.val(value.encode())})}


def _do_put(world: World, step: Step) -> None:
    _commit(world, step, _written(step.args["key"], step.args["value"]))


def _do_sync(world: World, step: Step) -> None:
    """A put that is answered when it is on the disk, and all before it."""
    _commit(world, step, _written(step.args["key"], step.args["value"]), flags=_SYNC)


def _do_clash(world: World, step: Step) -> None:
    """A commit that cannot be: nothing is appended to a link. Others may have been merged with it."""
    link = {"key": step.args["key"], "flags": 0, "dirent": treeobj.symlink("elsewhere")}
    _commit(world, step, link, _op(step.args["key"], step.args["value"], _APPEND))


def _do_unlink(world: World, step: Step) -> None:
    _commit(world, step, _op(step.args["key"], None))


def _do_append(world: World, step: Step) -> None:
    _commit(world, step, _op(step.args["key"], step.args["value"], _APPEND))


def _do_pair(world: World, step: Step) -> None:
    """Two appends of one client, which waits for no answer."""
    client, key = world.client(step), step.args["key"]
    for part in ("a>", "b>"):
        args = {"key": key, "value": step.args["value"] + part}
        half = Step(id=step.id, op=step.op, rank=step.rank, args=args)
        payload = {"namespace": "primary", "flags": 0, "ops": [_op(key, args["value"], _APPEND)]}
        world.ask(half, "kvs.commit", payload, client=client)


def _do_get(world: World, step: Step) -> None:
    world.ask(step, "kvs.lookup", {"namespace": "primary", "flags": 0, "key": step.args["key"]})


async def check(world: World) -> list[str]:
    """What is wrong with what was written, read and waited for."""
    broken = [found for get in world.of("kvs.get") if (found := _judge_get(world, get))]
    broken += await spaces.check(world)
    for key in (*PUT_KEYS, *UNLINK_KEYS, *APPEND_KEYS, TREE_KEY):
        writes = _of_key(world, key)
        if not writes:
            continue
        kept = kept_of(world, writes)
        for rank in world.up():
            try:
                value = await value_of(world, key, rank)
            except RequestError as error:
                broken.append(f"kvs: {key} cannot be read on rank {rank} at rest: {error}")
                continue
            judge = _judge_log if key in APPEND_KEYS else judge_value
            found = judge(writes, kept, value)
            if found:
                broken.append(f"kvs: {key} on rank {rank} at rest: {found}")
    return broken


def _of_key(world: World, key: str) -> list[Asked]:
    return [asked for asked in world.asked if asked.topic == "kvs.commit" and asked.step.args["key"] == key]


def _judge_get(world: World, get: Asked) -> str:
    """Whoever asks a rank sees what that rank has acknowledged before, or something later."""
    key, rank = get.step.args["key"], get.step.rank
    if key in APPEND_KEYS or get.answered is None or get.errnum not in (0, ENOENT):
        return ""
    if (
        get.life != world.life
        or rank in world.were_down
        or {(0, "kvs"), (rank, "kvs")} & world.disturbed.keys()
    ):
        return ""
    found = None if get.errnum else get.value["val"]
    if found is not None and found["type"] != "val":
        return ""
    value = None if found is None else base64.b64decode(found["data"]).decode()
    writes = _of_key(world, key)
    seen = [
        one
        for one in kept_of(world, writes)  # of an earlier life what was not synced may be lost
        if one.step.rank == rank and (one.answered or 0) < get.sent
    ]
    for before in seen:
        writers = [one for one in writes if one.step.args.get("value") == value and one.sent < get.answered]
        if all(is_before(one, before) for one in writers):
            return (
                f"kvs: {key} was {short(value)} for step {get.step.id} on rank {rank}, where step {before.step.id}"
                f" had been told before that it is {short(before.step.args.get('value'))}"
            )
    return ""


def _judge_log(writes: list[Asked], kept: list[Asked], value: str | None) -> str:
    """What was appended and acknowledged is there once, in order."""
    text = value or ""
    for write in writes:
        token = write.step.args["value"]
        times = text.count(token.rstrip("."))
        if times > 1 or (write in kept and not times):
            return (
                f"{short(token)} was appended and acknowledged, and is there {times} times in {short(text)}"
            )
    for first in kept:
        for second in kept:
            a, b = first.step.args["value"].rstrip("."), second.step.args["value"].rstrip(".")
            if first.answered is None or text.index(a) < text.index(b):
                continue
            if first.answered < second.sent:
                return f"{short(b)} stands before {short(a)}, which was acknowledged before it was sent"
            if first.client is second.client and first.sent < second.sent:
                return f"{short(b)} stands before {short(a)}, which the same client sent before it"
    return ""


KVS = Family(
    name="kvs",
    modules=("content-cache", "content-sqlite", "kvs"),
    topics=(
        "kvs.commit", "kvs.lookup", "kvs.getroot", "kvs.namespace-primary-setroot", "content.store", "content.load",
        "content-backing.store", "content-backing.load", "content.flush", "content.checkpoint-put",
    ),
    draws={
        "put": _put, "append": _append, "pair": _pair, "unlink": _unlink, "get": _get, "sync": _put, "clash": _clash,
        **spaces.DRAWS,
    },
    does={
        "put": _do_put, "append": _do_append, "pair": _do_pair, "unlink": _do_unlink, "get": _do_get, "sync": _do_sync,
        "clash": _do_clash, **spaces.DOES,
    },
    check=check,
    fair={
        "put": (), "append": (), "pair": (), "unlink": (), "get": (ENOENT,), "sync": (), "clash": (ENOTSUP,),
        **spaces.FAIR,
    },
    never=("clash",),
    themes=(
        ("put", "append", "clash"), ("pair", "clash"), ("put", "sync", "unlink", "get"),
        ("append", "sync"), ("put", "get"),
        ("put", "append", "wait", "leave"), ("create", "remove", "fill", "wait"), ("fill", "wait", "leave"),
    ),
    events=("kvs.namespace-primary-setroot",),
    lasting=(("put", "sync"), ("append", "sync"), ("put", "unlink", "sync"), ("put", "sync", "unlink", "get")),
    survives=True,
    lossy=("kvs.0", "content-cache.0"),
)  # fmt: skip
