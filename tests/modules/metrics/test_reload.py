"""A module that is loaded again while a collection is under way loses no rows that others had sent, and none twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.modules.metrics.live import Cluster, cluster

LATENCY = 0.001
KEYS = [f"k{at:02}" for at in range(30)]


def reloaded(rank: int, after: float, size: int, fanout: int, fault: Any = None, **stat: Any) -> Any:
    """What rows told of each key, the records, and the seconds it took to unload: 1 a key and rank was observed."""

    async def body(one: Cluster) -> Any:
        await one.create(group=4, **stat)
        first = one.follow()
        await one.instance.sleep(0.1)
        for observer in range(size):
            for key in KEYS:
                one.observe(observer, "s", key, 1)
        if fault is not None:
            one.client.request("overlay.fault", fault, lambda *_: None)
            await one.instance.sleep(0.0)
        one.client.request("metrics.next-epoch", {"name": "t"}, lambda *_: None)
        await one.instance.sleep(after)
        began = one.instance.reactor.now
        await one.instance.remove("metrics", rank)
        seconds = (one.instance.reactor.now - began) / 1e9
        await one.instance.load("metrics", rank=rank)
        second = [] if rank else one.follow()
        await one.instance.sleep(1.0)
        for _ in range(2):
            await one.gather()
        told = [*first, *second]
        emitted: Counter[str] = Counter()
        for what, value in told:
            if what == "row":
                emitted[value["key"]["str"]] += value["sum"]
        return emitted, [value for what, value in told if what == "record"], seconds

    modules = ["content-cache", "content-sqlite", "kvs", "metrics"]
    return cluster(body, size, fanout, modules=modules, latency=LATENCY)


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("hops", [0.5, 1.5, 2.5, 3.5, 5.5, 20])
def test_rank_0_goes_during_a_collection_and_every_row_is_in_an_epoch_once(hops, retain):
    emitted, records, _ = reloaded(0, hops * LATENCY, 4, 1, retain=retain)
    assert emitted == dict.fromkeys(KEYS, 4)
    assert records[0]["ok"] == "0-3"


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("hops", [0.5, 1.5, 2.5, 3.5, 5.5, 20])
def test_a_rank_in_between_goes_during_a_collection_and_what_it_had_not_sent_is_in_the_next(hops, retain):
    emitted, records, _ = reloaded(1, hops * LATENCY, 2, 1, retain=retain)
    assert emitted == dict.fromkeys(KEYS, 2), records


def test_rank_0_waits_5_seconds_for_a_rank_that_is_silent_and_says_who_is_missing():
    fault = {"kind": "drop", "rank": 2, "seconds": 20.0, "topic": "metrics.collect"}
    emitted, records, seconds = reloaded(0, 0.002, 3, 2, fault, timeout=50.0)
    assert seconds == pytest.approx(5.0, abs=0.1)
    # Rank 1 had sent four frames of four rows, all it may ahead of the others.
    assert (records[0]["ok"], records[0]["missing"]) == ("0", "2")
    assert [who for who, _ in records[0]["truncated"]] == ["1"]
    # The silent one never cut its table, and rank 1 has what it did not send.
    assert emitted == dict.fromkeys(KEYS, 3), records


def test_what_is_kept_for_a_rank_0_that_was_killed_comes_back_when_the_next_asks():
    async def body(one: Cluster) -> Any:
        await one.create(retain=True)
        await one.instance.sleep(0.1)
        one.observe(1, "s", "a", 5)
        one.client.request("metrics.next-epoch", {"name": "t"}, lambda *_: None)
        await one.instance.sleep(1.5 * LATENCY)
        one.instance.module(0, "metrics").end(104, "killed on purpose")
        await one.instance.sleep(0.1)
        held = one.module(1).accounts()["t"]["held"]
        await one.instance.load("metrics", rank=0)
        return held, [(await one.gather())[0] for _ in range(2)]

    modules = ["content-cache", "content-sqlite", "kvs", "metrics"]
    held, (rows, none) = cluster(body, 2, modules=modules, latency=LATENCY)
    assert held == 1
    assert [(row["n"], row["sum"]) for row in rows] == [(1, 5)]
    assert none == []


def test_who_has_no_rank_above_that_takes_its_rows_says_how_many_are_lost():
    async def body(one: Cluster) -> Any:
        await one.create()
        for key in KEYS:
            one.observe(1, "s", key, 1)
        gone = one.module(1)
        await one.instance.remove("metrics", 0)
        await one.instance.remove("metrics", 1)
        return gone.accounts()["t"], one.instance.broker(1).log.lines()

    account, lines = cluster(body, 2)
    assert account == {"observed": 30, "held": 30}
    assert any("30 rows of stat t are lost" in line for line in lines)
