"""What a rank of many keeps that does no more than hear the heartbeat: what it used, and nothing for what it might."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import brokersim
from brokersim.reactor.actor import NOTHING_OPEN

LISTENER = Path(__file__).resolve().parents[2] / "benchmarks" / "modules" / "listener.py"


def lean(what, ranks=3):
    """Run ``what(instance)`` where each rank has two modules that only hear the heartbeat."""

    async def main():
        async with brokersim.open_instance(size=ranks, modules=("heartbeat",)) as instance:
            for rank in range(ranks):
                for name in ("one", "two"):
                    await instance.load(str(LISTENER), rank=rank, name=name)
            await instance.sleep(11)
            return what(instance)

    return brokersim.run(main)


def test_what_is_seldom_asked_for_is_not_there():
    def look(instance):
        rank = instance.broker(2)
        assert [rank.module(name).counts[5] for name in ("one", "two")] == [5, 5]
        made = ("_peers", "_attributes", "_log", "_observers", "_programs")
        assert [name for name in made if getattr(rank, name) is not None] == []
        assert list(rank.services) == ["one", "two"]  # the broker's own names are no entries of each rank
        assert rank.service("log") is rank.endpoint
        assert all("log" not in vars(rank.module(name).body) for name in ("one", "two"))
        assert isinstance(rank.module("one")._identity, int)
        assert [rank.module("one")._seldom, rank.endpoint._kept, rank.endpoint._streams] == [None] * 3
        assert rank.module("one").pending is NOTHING_OPEN

    lean(look)


def test_a_lean_rank_of_eight_modules_takes_eleven_kilobytes_at_most():
    async def taken(ranks):
        async with brokersim.open_instance(size=ranks, modules=("heartbeat",)) as instance:
            for rank in range(ranks):
                for number in range(8):
                    await instance.load(str(LISTENER), rank=rank, name=f"listener{number}")
            await instance.sleep(5)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

    brokersim.run(taken, 2)  # imports, tables, what is kept of room
    tracemalloc.start()
    try:
        few, many = (brokersim.run(taken, ranks) for ranks in (4, 20))
    finally:
        tracemalloc.stop()
    assert (many - few) / 16 < 11_000  # 14,300 before; of a thousand, each takes a kilobyte less


def test_an_open_request_is_noted_with_who_asked_and_with_nobody_else():
    def look(instance):
        one, other = (instance.broker(1).module(name) for name in ("one", "two"))
        request = one.request("two.ping", {}, print)
        assert (list(one.pending), other.pending, NOTHING_OPEN) == ([request.matchtag], {}, {})
        other.open(7, print, None, request)
        assert (list(one.pending), list(other.pending), NOTHING_OPEN) == ([request.matchtag], [7], {})

    lean(look)


def test_what_few_modules_have_is_made_for_those():
    def look(instance):
        handle = instance.broker(1).module("one")
        assert (handle.mask, handle.instrument, handle._seldom) == (0, None, None)
        chance = handle.random
        assert handle.random is chance
        assert handle.stats is handle.stats
        assert handle.mask == 0
        handle.set_mask(4)
        assert (handle.mask, handle.instrument, handle.random) == (4, None, chance)

    lean(look)


def test_what_is_asked_for_is_made_and_stays():
    def look(instance):
        rank = instance.broker(2)
        assert rank.log is rank.log
        assert rank.attributes is rank.attributes
        assert rank.attributes.get("rank") == "2"
        assert rank.observers is rank.observers
        assert rank.observe is rank.module("one").observe
        body = rank.module("one").body
        assert body.log is body.log
        body.log.level = "err"
        assert vars(body)["log"].level == 3
        assert rank.program("ls") is None

    lean(look)


def test_an_identity_is_the_same_whenever_it_is_asked_for():
    def look(instance):
        handle = instance.broker(1).module("one")
        told = handle.identity()
        assert isinstance(handle._identity, int)
        assert handle.uuid == told == instance.identities.identity(1, "one", 1)
        assert handle._identity == told
        assert instance.identities.uuid(1, "one") == instance.identities.identity(1, "one", 2) != told

    lean(look)


def test_a_link_is_found_by_the_rank_at_its_end():
    async def main(size, fanout):
        async with brokersim.open_instance(size=size, fanout=fanout, modules=()) as instance:
            for rank in range(size):
                broker = instance.broker(rank)
                assert [broker.link_to(link.peer.rank) for link in broker.links] == list(broker.links)
                assert [link.peer.rank for link in broker.children] == list(broker.below)

    for size, fanout in ((1, 2), (2, 2), (7, 2), (10, 3), (6, 0)):
        brokersim.run(main, size, fanout)
