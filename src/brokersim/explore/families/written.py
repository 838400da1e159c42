"""Knows what a key may hold after some writes of it, and what it holds; not which keys are written, or why."""

from __future__ import annotations

import base64
from typing import Final

from brokersim.explore.world import Asked, World
from brokersim.protocol.errnums import ENOENT, RequestError

#: Bytes behind some values: above 160 they are blobs of their own.
LONG: Final = 300


async def value_of(world: World, key: str, rank: int, space: str = "primary") -> str | None:
    """What a key holds as a rank sees it, None if there is none. Raises RequestError."""
    try:
        answer = await world.call("kvs.lookup", {"namespace": space, "flags": 0, "key": key}, rank)
        found = answer["val"]
        if found["type"] == "val":
            return base64.b64decode(found["data"]).decode()
        parts = [await world.call("content.load", bytes.fromhex(ref[5:]), rank) for ref in found["data"]]
        return b"".join(map(bytes, parts)).decode()
    except RequestError as error:
        if error.errno == ENOENT and not error.text.startswith("object"):
            return None
        raise


def kept_of(world: World, writes: list[Asked]) -> list[Asked]:
    """Those that were acknowledged and must be there: of lives before the last crash, what was synced."""
    truthful = [asked for asked in world.of("kvs.sync") if asked.is_acked and not world.was_lied_to]
    synced = [asked.sent for asked in truthful if asked.life < world.life]
    return [
        write
        for write in writes
        if write.is_acked
        and write.answered is not None
        and (write.life == world.life or write in truthful or any(sent > write.answered for sent in synced))
    ]


def is_before(write: Asked, later: Asked) -> bool:
    """Whether a write took effect before another was sent. One that failed may still be on its way for ever."""
    return write.is_acked and write.answered is not None and write.answered < later.sent


def judge_value(writes: list[Asked], kept: list[Asked], value: str | None) -> str:
    """A value may be there that no acknowledged later write replaced."""
    possible: dict[str | None, None] = {}
    if not kept:
        possible[None] = None
    for write in writes:
        replaced = any(is_before(write, later) for later in kept)
        if not replaced:
            possible[write.step.args.get("value")] = None
    if value in possible:
        return ""
    return f"{short(value)} is none of those it may hold, {', '.join(map(short, possible))}"


def short(value: str | None) -> str:
    return "nothing" if value is None else repr(value.replace("." * LONG, "…"))
