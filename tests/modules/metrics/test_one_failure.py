"""No single failure loses an epoch: each ends with a record, and what heals brings every observation in, once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.modules.metrics.live import Cluster, cluster

#: Faults of a link that heal. What is lost on the way is told anew where ranks keep what they sent (`retain`).
FAULTS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["drop", "delay", "disconnect"]),
        "rank": st.integers(1, 6),
        "seconds": st.sampled_from([0.1, 1.0, 7.0]),
        "delay": st.sampled_from([0.001, 0.5, 3.0]),
        "topic": st.sampled_from(["metrics.*", "metrics.collect", "metrics.credit", "metrics.done"]),
    }
)


#: Seconds a message takes from rank to rank.
LATENCY = 0.001


def played(
    fault: dict[str, Any], fanout: int, start: float, retain: bool
) -> tuple[Counter[str], Counter[str], list[Any]]:
    """What was observed, what rows told, the records: 16 s with the fault in them, 60 s to heal."""

    async def body(one: Cluster) -> Any:
        await one.create(epoch=4.0, timeout=3.0, retain=retain, group=3)
        told = one.follow()
        observed: Counter[str] = Counter()
        for at in range(64):
            if at == round(start * 4):
                one.client.request("overlay.fault", fault, lambda *_: None)
            for rank in range(7):
                key = f"k{(at + rank) % 11}"
                one.observe(rank, "s", key, 1)
                observed[key] += 1
            await one.instance.sleep(0.25)
        await one.instance.sleep(60.0)
        emitted: Counter[str] = Counter()
        for what, value in told:
            if what == "row":
                emitted[value["key"]["str"]] += value["sum"]
        return observed, emitted, [value for what, value in told if what == "record"]

    return cluster(body, 7, fanout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("retain", [True, False])
@given(fault=FAULTS, fanout=st.sampled_from([1, 2, 6]), start=st.sampled_from([0.5, 3.75, 4.0, 7.9, 9.0]))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_a_fault_of_one_link_loses_no_epoch(retain, fault, fanout, start):
    observed, emitted, records = played(fault, fanout, start, retain)
    assert len(records) >= 15  # every break ended, but for those that found one going on
    assert sum(record["merged_epochs"] for record in records) + len(records) >= 18
    assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
    assert all(emitted[key] <= observed[key] for key in emitted)  # nothing twice
    lost = observed - emitted
    if retain or fault["kind"] != "drop":
        assert not lost, (fault, records)
    elif lost:  # frames that were dropped: the record of that epoch names the ranks
        assert any(record["missing"] or record["truncated"] or record["departed"] for record in records)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_death_of_a_rank_is_named_and_the_others_go_on(rank):
    observed, emitted, records = played({"kind": "kill", "rank": rank}, 2, 5.0, False)
    assert len(records) >= 15
    below = {1: "1,3-4", 3: "3"}[rank]
    assert {record["departed"] for record in records[2:]} == {below}
    assert all(emitted[key] <= observed[key] for key in emitted)
    assert records[-1]["ok"] == {1: "0,2,5-6", 3: "0-2,4-6"}[rank]


@pytest.mark.parametrize(("rank", "hops"), [(1, 1), (1, 2), (5, 2)])
def test_what_a_rank_keeps_comes_back_where_the_end_of_its_collection_was_lost_too(rank, hops):
    """Frames, and the event that says that they are missing: the rank asks when it is collected from again."""

    async def body(one: Cluster) -> Any:
        await one.create(epoch=4.0, timeout=3.0, retain=True)
        told = one.follow()
        handle, course = one.module().handle, one.module()._root.courses["t"]
        for at in range(40):
            for each in range(7):
                one.observe(each, "s", "k", 1)
            await one.instance.sleep(0.5)
            if at == 22:  # limits of silence are known by then: a second
                due = course.began + 12.0 + (hops - 0.5) * LATENCY
                await one.instance.sleep(due - handle.now())
                fault = {"kind": "drop", "rank": rank, "seconds": 2.0, "topic": "metrics.*"}
                one.client.request("overlay.fault", fault, lambda *_: None)
        await one.instance.sleep(20.0)
        emitted = sum(value["sum"] for what, value in told if what == "row")
        kept = [held.kept for each in range(7) for held in one.module(each)._member.stats.values()]
        return emitted, kept, [value["missing"] for what, value in told if what == "record"]

    emitted, kept, missing = cluster(body, 7, 2, latency=LATENCY)
    assert any(missing)
    assert (emitted, kept) == (40 * 7, [0] * 7)
