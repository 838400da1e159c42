"""Knows the content service as clients use it: a blob equals its hash on every rank, and at rest nothing is dirty."""

from __future__ import annotations

import hashlib
import random

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, RequestError

#: Seconds within which what could not be written for a while is.
_PATIENCE = 10


def _data(number: int, size: int) -> bytes:
    return (b"%d." % number) * size


def _store(rng: random.Random, _: int) -> JsonObject:
    return {"number": rng.randrange(2), "size": rng.choice((1, 50, 2000))}


def _load(rng: random.Random, number: int) -> JsonObject:
    return _store(rng, number)


def _drop(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _do_store(world: World, step: Step) -> None:
    world.ask(step, "content.store", _data(**step.args))


def _do_both(world: World, step: Step) -> None:
    """Two clients with the same blob at one time."""
    _do_store(world, step)
    _do_store(world, step)


def _do_load(world: World, step: Step) -> None:
    """Load the blob, or, as long as nobody stored that one, the last that was: else most would find none."""
    stored = [asked.payload for asked in world.asked if asked.topic == "content.store"]
    data = _data(**step.args)
    if stored and data not in stored:
        data = stored[-1]
    world.kept.setdefault("loads", {})[step.id] = data
    world.ask(step, "content.load", hashlib.sha1(data).digest())


def _do_drop(world: World, step: Step) -> None:
    world.ask(step, "content.dropcache")


def _do_flush(world: World, step: Step) -> None:
    """Whoever is told that it is done may rely on the backing store: what was stored before is there at once."""

    def look(flush: Asked) -> None:
        for asked in world.asked if flush.is_acked and 0 not in world.down else ():
            stored = asked.topic == "content.store" and asked.is_acked and asked.life == flush.life
            if stored and (asked.answered or 0) < flush.sent:
                kept = Step(id=step.id, op="content.kept", rank=0)
                world.ask(kept, "content-backing.load", bytes(asked.value))

    world.ask(step, "content.flush", then=look)


def _leave(rng: random.Random, _: int) -> JsonObject:
    topics = ("content.flush", "content.flush", "content.load", "content.store")
    return {"which": rng.randrange(3), "topic": rng.choice(topics)}


def _do_leave(world: World, step: Step) -> None:
    """One who waits on this rank goes; others go on waiting."""
    world.leave(step, step.args["topic"])


def _do_beat(world: World, step: Step) -> None:
    """A heartbeat: what is old goes, and what failed is tried again."""
    client = world.client(step)
    world.kept["beats"] = True
    client.publish("heartbeat.pulse", {"count": step.id})
    client.close()


async def _check(world: World) -> list[str]:
    broken = []
    for asked in world.acked("content.load"):
        if bytes(asked.value) != world.kept["loads"][asked.step.id]:
            broken.append(f"content: {asked.step} was answered with {len(asked.value)} other bytes")
    for asked in (*world.acked("content.store"), *world.acked("content.both")):
        data = _data(**asked.step.args)
        digest = hashlib.sha1(data).digest()
        if bytes(asked.value) != digest:
            broken.append(
                f"content: step {asked.step.id} stored {digest.hex()} and was told {bytes(asked.value).hex()}"
            )
        for rank in world.up() if _must_be_there(world, asked) else ():
            try:
                found = bytes(await world.call("content.load", digest, rank))
            except RequestError as error:
                broken.append(
                    f"content: what step {asked.step.id} stored is not on rank {rank} at rest: {error}"
                )
                continue
            if found != data:
                broken.append(
                    f"content: what step {asked.step.id} stored is not what rank {rank} has at rest"
                )
    return broken + _unkept(world) + await clean(world)


def _unkept(world: World) -> list[str]:
    """What a flush was to write and did not, as long as nobody ended who writes it or has it."""
    if {(0, "content-cache"), (0, "content-sqlite")} & world.disturbed.keys() or world.life:
        return []
    return [
        f"content: the flush of step {asked.step.id} was acknowledged, and {asked.payload.hex()} was not written"
        for asked in world.of("content.kept")
        if asked.errnum == ENOENT
    ]


def _must_be_there(world: World, store: Asked) -> bool:
    """It was stored in this life of the instance, or was flushed before a crash that left the disk as it was."""
    if store.life == world.life:
        return True
    flushes = [asked for asked in world.acked("content.flush") if asked.life < world.life]
    return not (world.was_lied_to or world.was_cut) and any(
        flush.sent > (store.answered or 0) for flush in flushes
    )


async def clean(world: World) -> list[str]:
    """No cache has anything to write, a few seconds after what kept it from that."""
    broken = []
    failure = await _flush(world)
    if failure:
        return [f"content: cannot be flushed at rest: {failure}"]
    for rank in world.up():
        try:
            dirty = await _dirty(world, rank)
        except RequestError as error:
            broken.append(f"content: rank {rank} has no content service at rest: {error}")
            continue
        if dirty:
            broken.append(f"content: {dirty} blobs are dirty on rank {rank} at rest")
    return broken


async def _flush(world: World) -> str:
    """Why what is dirty cannot be written; what failed once is tried again when asked for, or a second later."""
    failure = ""
    for _ in range(_PATIENCE):
        try:
            await world.call("content.flush")
        except RequestError as error:
            failure = str(error)
            await world.instance.sleep(1.0)
        else:
            return ""
    return failure


async def _dirty(world: World, rank: int) -> int:
    dirty = 0
    for _ in range(_PATIENCE):
        dirty = int((await world.call("content.stats-get", None, rank))["dirty"])
        if not dirty:
            break
        await world.instance.sleep(1.0)
    return dirty


CONTENT = Family(
    name="content",
    modules=("content-cache", "content-sqlite"),
    topics=(
        "content.store",
        "content.load",
        "content-backing.store",
        "content-backing.load",
        "content.flush",
    ),
    draws={
        "store": _store,
        "both": _store,
        "load": _load,
        "drop": _drop,
        "flush": _drop,
        "beat": _drop,
        "leave": _leave,
    },
    does={
        "store": _do_store,
        "both": _do_both,
        "load": _do_load,
        "drop": _do_drop,
        "flush": _do_flush,
        "beat": _do_beat,
        "leave": _do_leave,
    },
    check=_check,
    fair={"store": (), "both": (), "load": (ENOENT,), "drop": (), "flush": ()},
    themes=(
        ("store", "load", "drop"),
        ("store", "flush"),
        ("store", "load"),
        ("both", "load"),
        ("store", "flush", "leave"),
        ("store", "beat", "drop", "load"),
    ),
    failures=(("content.store", "content-backing.store"), ("content.flush", "content-backing.store")),
    reloads={
        "store": (("content-backing.store", "content-cache"),),
        "flush": (("content.flush", "content-cache"),),
    },
    lasting=(("store", "flush"), ("both", "flush", "leave"), ("store", "flush", "drop", "load")),
    survives=True,
    makes={"store": 1, "both": 2},
    lossy=("content-cache.0",),
)
