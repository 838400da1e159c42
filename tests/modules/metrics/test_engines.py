"""What C counts and merges goes over each link as what Python counts and merges: frame by frame, byte by byte."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from brokersim.native import sums
from brokersim.protocol.message import RESPONSE
from modules.metrics.wire import FRAME_MAX
from tests.modules.metrics.live import Cluster, cluster

#: Values of observations: whole numbers, what C leaves to Python, and both.
VALUES: dict[str, list[Any]] = {
    "whole": [1, 1, -5, 2**40, "x", True],
    "floats": [1, 0.5, 0.1, -3],
    "huge": [2**62 - 1, 1 - 2**62, 7],
}


def played(
    is_compiled: bool, monkeypatch: pytest.MonkeyPatch, seed: int, values: str, long: int
) -> tuple[list[bytes], Any]:
    """All frames that ranks were handed in three epochs, and what was told of these."""
    monkeypatch.setattr(sums, "is_compiled", is_compiled)
    chance = random.Random(f"{seed}/{values}/{long}")
    size, fanout = chance.choice([(3, 2), (7, 2), (7, 6), (9, 8), (5, 1)])
    group = chance.choice([1, 50, 200])
    retain = chance.choice([True, False])
    frames: list[bytes] = []
    kinds: set[bool] = set()

    def see(way: str, actor: Any, message: Any) -> None:
        if way == "rx" and message.type == RESPONSE and message.topic == "metrics.collect":
            frames.append(message.raw)
            if not message.errnum and message.data.get("rows"):
                kinds.add(sums.is_sums(message.data["rows"]))

    async def body(one: Cluster) -> Any:
        await one.create(group=group, retain=retain)
        for rank in range(size):
            one.instance.module(rank, "metrics").handle.set_tracer(see)
        told = []
        for count in chance.sample([0, 40, 300], 3):
            for _ in range(count):
                rank, number = chance.randrange(size), chance.randrange(120)
                one.observe(rank, "s", f"{number:04}" * long, chance.choice(VALUES[values]))
                await one.instance.sleep(1e-6)
            told.append(await one.gather())
        return told, (await one.client.call("metrics.stats-get", {}, 0))["stats"]

    told = cluster(body, size, fanout)
    assert kinds == {False} if not is_compiled else True in kinds or values != "whole"
    return frames, told


@pytest.mark.skipif(not sums.is_compiled, reason="not compiled here, or BROKERSIM_PURE is set")
@pytest.mark.parametrize("long", [1, 224])  # frames are full by their rows, and by their bytes
@pytest.mark.parametrize("values", sorted(VALUES))
@pytest.mark.parametrize("seed", range(2))
def test_frames_are_the_same_bytes_on_either_engine(seed, values, long, monkeypatch):
    in_c = played(True, monkeypatch, seed, values, long)
    assert in_c == played(False, monkeypatch, seed, values, long)
    for frame in in_c[0]:
        rows = msgspec.json.decode(frame.rstrip(b"\0")).get("rows", []) if frame else []
        assert len(rows) <= 1 or len(msgspec.json.encode(rows)) <= FRAME_MAX
