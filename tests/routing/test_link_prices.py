"""A rank takes in one frame after the other, for a price a frame and a byte; without costs a link is only late."""

from __future__ import annotations

from typing import Any

import pytest

import brokersim
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS

FREE = {"iteration_s": 0.0, "message_s": 0.0, "wake_s": 0.0, "slice_s": 0.0}


def arrivals(fanout: int, senders: list[int], payload: Any, **cost: float) -> list[int]:
    """Nanoseconds after which rank 0 has each of the answers asked for at once, by these ranks."""

    async def main() -> list[int]:
        model = CostModel(**{**FREE, **cost})
        async with brokersim.open_instance(
            size=16, fanout=fanout, modules=[], cost=model, latency=0.0, clock="virtual"
        ) as instance:
            times: list[int] = []
            client = instance.client()
            await instance.sleep(1.0)
            start = instance.reactor.now
            for rank in senders:
                there = instance.client(rank)
                there.request(
                    "broker.ping", payload, lambda *_: times.append(instance.reactor.now - start), nodeid=0
                )
            await instance.sleep(1.0)
            client.close()
            return times

    return brokersim.run(main, clock="virtual")


def test_the_root_takes_in_what_comes_over_all_its_links_one_frame_at_a_time():
    times = arrivals(0, [1, 2, 3], {}, frame_s=1e-3, byte_s=0.0)
    # Requests are in at 1, 2 and 3 ms; each answer takes its own rank another.
    assert times == [2_000_000, 3_000_000, 4_000_000]


def test_a_byte_has_its_price_too():
    (none,) = arrivals(0, [1], {}, frame_s=0.0, byte_s=0.0)
    (long,) = arrivals(0, [1], {"x": "y" * 1000}, frame_s=0.0, byte_s=1e-6)
    (longer,) = arrivals(0, [1], {"x": "y" * 2000}, frame_s=0.0, byte_s=1e-6)
    assert none == 0
    assert longer - long == pytest.approx(2 * 1000 * 1e-6 * NS)


def test_a_chain_costs_each_rank_on_the_way():
    (time,) = arrivals(1, [3], {}, frame_s=1e-3, byte_s=0.0)
    assert time == 6_000_000
