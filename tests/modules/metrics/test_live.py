"""The module on instances: epochs, streams from the start, thresholds, faults of links and ranks, nothing lost."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio

from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, RequestError
from tests.modules.job_harness import JOB_MODULES, jobspec, submit
from tests.modules.metrics.live import Cluster, by_key, cluster


def total(rows: list[dict[str, Any]]) -> int:
    return sum(row["sum"] for row in rows)


# -- epochs


def test_epochs_end_at_multiples_of_the_period_and_hold_each_observation_once():
    async def body(one: Cluster) -> None:
        await one.create(epoch=2.0)
        told = one.follow()
        for at in range(50):
            one.observe(at % 3, "s", f"k{at % 7}", 1)
            await one.instance.sleep(0.2)
        await one.instance.sleep(2.0)
        records = [value for what, value in told if what == "record"]
        rows = [value for what, value in told if what == "row"]
        assert total(rows) == 50
        assert [record["epoch"] for record in records] == list(range(1, len(records) + 1))
        starts = [record["requested"] for record in records]
        assert all(abs(b - a - 2.0) < 1e-9 for a, b in pairwise(starts))

    cluster(body)


def test_an_aligned_epoch_ends_at_a_multiple_of_the_wall_clock():
    async def body(one: Cluster) -> None:
        await one.instance.sleep(1.234)
        await one.create(epoch=5.0, align="clock")
        told = one.follow()
        await one.instance.sleep(12.0)
        times = [value["requested"] for what, value in told if what == "record"]
        assert len(times) == 2
        assert all(abs(time / 5.0 - round(time / 5.0)) < 1e-9 for time in times)

    cluster(body)


def test_an_empty_epoch_has_a_record_and_no_row():
    async def body(one: Cluster) -> None:
        await one.create()
        rows, record = await one.gather()
        assert (rows, record["rows"], record["ok"]) == ([], 0, "0-2")
        assert record["missing"] == record["departed"] == record["stale"] == ""

    cluster(body)


def test_next_epoch_is_for_stats_without_a_period():
    async def body(one: Cluster) -> None:
        await one.create(epoch=5.0)
        await one.create(name="u")
        for rank in (0, 2):
            for name, ok in (("t", False), ("u", True), ("nosuch", False)):
                assert (await one.client.call("metrics.next-epoch", {"name": name}, rank)) == {"ok": ok}
            await one.instance.sleep(0.1)

    cluster(body)


def test_a_gather_during_a_collection_gets_the_next_one():
    async def body(one: Cluster) -> None:
        await one.create()
        one.observe(1, "s", "a", 1)
        answers: list[Any] = []
        one.client.stream("metrics.gather", {"name": "t"}, lambda r, _: answers.append(r.data), None, 0)
        _, record = await one.gather()
        assert (record["epoch"], record["rows"]) == (2, 0)
        assert answers[0]["rows"][0]["sum"] == 1

    cluster(body)


def test_rows_are_thrown_together_by_fields_and_the_largest_come_first():
    async def body(one: Cluster) -> None:
        await one.create()
        for rank in range(3):
            for module, value in (("kvs", 5), ("cron", 1), ("sched", 7)):
                one.observe(rank, "s", {"module": module, "rank": rank}, value)
        rows, _ = await one.gather(by=["module"], top=2)
        assert [(row["key"], row["sum"], row["n"]) for row in rows] == [
            ({"module": "sched"}, 21, 3),
            ({"module": "kvs"}, 15, 3),
        ]

    cluster(body)


# -- definitions


def test_refusals_say_what_would_be_right():
    async def body(one: Cluster) -> None:
        await one.create()
        assert (await one.create())["is_new"] is False
        for definition, errnum, says in (
            ({"epoch": 1.0}, EEXIST, "there already with another definition"),
            ({"name": "u", "sinks": [{"ftp": "x"}]}, EINVAL, "no sink"),
            ({"name": "u", "reducers": []}, EINVAL, "name a stream"),
        ):
            with pytest.raises(RequestError, match=says) as caught:
                await one.create(definition)
            assert caught.value.errno == errnum
        for topic in ("remove", "request-key", "log"):
            with pytest.raises(RequestError, match="no stat 'x'; there are: t") as caught:
                await one.client.call(f"metrics.{topic}", {"name": "x", "key": "k"}, 2)
            assert caught.value.errno == ENOENT

    cluster(body)


def test_a_removed_stat_is_gone_on_every_rank_and_costs_nothing():
    async def body(one: Cluster) -> None:
        from brokersim.host.observers import unobserved

        handles = [one.instance.module(rank, "metrics").handle for rank in range(3)]
        assert all(handle.observe is unobserved for handle in handles)
        await one.create()
        assert all(handle.observe is not unobserved for handle in handles)
        await one.client.call("metrics.remove", {"name": "t"}, 1)
        await one.instance.sleep(0.1)
        assert all(handle.observe is unobserved for handle in handles)
        assert (await one.client.call("metrics.list", {}, 2)) == {"stats": []}

    cluster(body)


@pytest.mark.parametrize("more", [{"group": 2}, {"compat": "zeek-2011"}])
def test_who_collects_is_told_when_the_stat_is_removed_meanwhile(more):
    async def body(one: Cluster) -> None:
        await one.create(**more)
        for rank in range(5):
            for key in range(200):
                one.observe(rank, "s", f"{rank} {key}", 1)
        answers: list[list[Any]] = []

        async def collect() -> None:
            answers.append(await one.stream("metrics.gather", {"name": "t"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            nursery.start_soon(collect)  # for the epoch after this one
            await one.instance.sleep(0.0002)
            await one.client.call("metrics.remove", {"name": "t"}, 0)
        assert [told[-1] for told in answers] == [ENOENT] * 2
        await one.instance.sleep(1.0)
        assert [one.module(rank).stats()["open"] for rank in range(5)] == [0] * 5
        assert [one.module(rank).handle.pending for rank in range(5)] == [{}] * 5
        await one.create(**more)
        one.observe(3, "s", "k", 2.5)
        rows, _ = await one.gather()
        assert [row["sum"] for row in rows] == [2.5]

    cluster(body, 5, 1)


def test_definitions_outlive_the_module_in_the_kvs():
    async def body(one: Cluster) -> None:
        await one.create(epoch=7.0)
        await one.instance.sleep(1.0)
        await one.instance.remove("metrics", 0)
        await one.instance.load("metrics", rank=0)
        await one.instance.sleep(0.1)
        (listed,) = (await one.client.call("metrics.list", {}, 0))["stats"]
        assert (listed["name"], listed["definition"]["epoch"]) == ("t", 7.0)
        one.observe(2, "s", "a", 3)
        rows, _ = await one.gather()
        assert total(rows) == 3

    cluster(body, modules=["content-cache", "content-sqlite", "kvs", "metrics"])


def test_a_stat_nobody_asks_about_sends_no_message():
    async def body(one: Cluster) -> None:
        await one.create()
        counts = [list(one.instance.module(rank, "metrics").handle.counts) for rank in range(3)]
        for at in range(100):
            one.observe(at % 3, "s", f"k{at}", 1)
        await one.instance.sleep(3600.0)
        assert [list(one.instance.module(rank, "metrics").handle.counts) for rank in range(3)] == counts

    cluster(body)


def test_stats_of_one_stream_do_not_see_each_other_s_keys():
    async def body(one: Cluster) -> None:
        await one.create()
        await one.create(name="u", reducers=[{"stream": "s", "apply": ["sum"], "normalize": {"mask": 8}}])
        one.observe(1, "s", {"host": "10.1.2.3"}, 1)
        assert by_key((await one.gather("t"))[0]).keys() == {"10.1.2.3"}
        assert by_key((await one.gather("u"))[0]).keys() == {"10.0.0.0/8"}

    cluster(body)


# -- streams from the start


def test_counters_content_and_job_states_are_streams():
    async def body(one: Cluster) -> None:
        for stream in ("content.load", "content.store", "job.state"):
            await one.create(name=stream, reducers=[{"stream": stream, "apply": ["max", "quantile"]}])
        await one.create(name="counters", reducers=[{"stream": "counters", "apply": ["sum"]}])
        await one.gather("counters")

        def received() -> int:
            return sum(one.instance.module(rank, "kvs").handle.counts[1] for rank in range(2))

        before = received()
        await submit(one.client, jobspec(duration=2.0))
        await one.instance.sleep(10.0)
        rows = by_key((await one.gather("counters"))[0])
        assert rows["kvs/request_rx"]["sum"] == received() - before > 0
        states = by_key((await one.gather("job.state"))[0])
        assert {"NEW", "RUN", "CLEANUP"} <= states.keys()
        assert states["RUN"]["max"] == pytest.approx(2.0, abs=0.05)
        assert (await one.gather("content.store"))[0][0]["n"] > 0

    cluster(body, size=2, modules=(*JOB_MODULES, "metrics"), jobs="simulated")


# -- ranks that fail


def test_a_rank_that_is_cut_off_is_departed_at_once():
    async def body(one: Cluster) -> None:
        await one.create()
        for rank in range(5):
            one.observe(rank, "s", "a", 1)
        fault = {"kind": "disconnect", "rank": 1, "seconds": 30.0}
        one.client.request("overlay.fault", fault, lambda *_: None)
        await one.instance.sleep(1.0)
        before = one.instance.reactor.now
        rows, record = await one.gather()
        assert (total(rows), record["ok"], record["departed"]) == (2, "0,2", "1,3-4")
        assert one.instance.reactor.now - before < 10**7  # 10 ms: nobody was waited for
        await one.instance.sleep(40.0)
        rows, record = await one.gather()
        assert (total(rows), record["ok"]) == (3, "0-4")

    cluster(body, size=5)


def test_a_silent_rank_is_missing_after_its_limit_and_its_rows_come_later():
    async def body(one: Cluster) -> None:
        await one.create()
        await one.gather()  # so that the limit is known: a second
        for rank in range(3):
            one.observe(rank, "s", "a", 1)
        fault = {"kind": "delay", "rank": 2, "seconds": 4.0, "delay": 5.0, "topic": "metrics.collect"}
        one.client.request("overlay.fault", fault, lambda *_: None)
        await one.instance.sleep(0.1)
        rows, record = await one.gather()
        assert (total(rows), record["missing"]) == (2, "2")
        await one.instance.sleep(20.0)
        rows, record = await one.gather()
        assert (total(rows), record["ok"], record["carried"]) == (1, "0-2", 1)
        told = (await one.client.call("metrics.stats-get", {}, 0))["stats"]["t"]
        shown = {name: told[name] for name in ("frames", "late", "dup", "foreign", "partial", "missing")}
        # Three collections, two children: a frame each, of which one came late.
        assert shown == {"frames": 6, "late": 1, "dup": 0, "foreign": 0, "partial": 1, "missing": 1}
        assert told["duration"] == record["completed"] - record["requested"]

    cluster(body)


@pytest.mark.parametrize("ranks", ["99", "1-3", "0,7"])
def test_a_stat_on_ranks_there_are_not_is_refused(ranks):
    async def body(one: Cluster) -> None:
        with pytest.raises(RequestError) as caught:
            await one.create(ranks=ranks)
        assert caught.value.errno == EINVAL
        assert "0-2" in caught.value.text
        await one.create(ranks="1-2")

    cluster(body)


def test_a_key_of_counters_is_shown_as_it_is_now():
    async def body(one: Cluster) -> None:
        await one.create(reducers=[{"stream": "counters"}])
        key = {"module": "heartbeat", "type": "request_rx"}
        for _ in range(3):
            await one.client.call("heartbeat.stats-get", {}, 0)
        for _ in range(2):  # looked at twice, counted once
            found = await one.client.call("metrics.request-key", {"name": "t", "key": key}, 0)
            assert found["result"]["sum"] == 3
        rows, _ = await one.gather()
        assert by_key(rows)["heartbeat/request_rx"]["sum"] == 3

    cluster(body, modules=["metrics", "heartbeat"])


@pytest.mark.parametrize("value", [1e200, None, -1e151])
def test_what_cannot_be_counted_is_refused_to_who_asks(value):
    async def body(one: Cluster) -> None:
        wish = {"stream": "s", "key": "k", "value": value}
        with pytest.raises(RequestError, match="a value is a text or a number up to 1e\\+150, not"):
            await one.client.call("metrics.observe", wish)

    cluster(body, size=1)


def test_who_observes_is_told_which_stat_refused_it():
    async def body(one: Cluster) -> None:
        await one.create(reducers=[{"stream": "s", "apply": ["sum"], "normalize": {"mask": 24}}])
        await one.create(name="other")
        for host, refused in (("n1", ["t"]), ("10.1.2.3", [])):
            told = await one.client.call(
                "metrics.observe", {"stream": "s", "key": {"host": host}, "value": 1}
            )
            assert (told["is_counted"], told.get("refused", [])) == (True, refused)

    cluster(body)


def test_the_bytes_of_frames_are_those_of_their_rows_on_a_wire():
    async def body(one: Cluster) -> None:
        await one.create()
        for key in range(120):
            one.observe(1, "s", f"k{key:03}", 1)
        sizes: list[int] = []

        def see(way: str, _actor: Any, message: Any) -> None:
            if (way, message.type, message.topic) == ("rx", 3, "metrics.collect") and not message.errnum:
                sizes.append(len(msgspec.json.encode(list(message.data["rows"]))))

        one.module().handle.set_tracer(see)
        await one.gather()
        told = (await one.client.call("metrics.stats-get", {}, 0))["stats"]["t"]
        assert (told["frames"], told["bytes"]) == (4, sum(sizes))
        assert told["bytes"] > 120 * 30

    cluster(body)


def test_a_rank_that_unloads_hands_over_what_it_counted():
    async def body(one: Cluster) -> None:
        await one.create()
        for key in range(120):
            one.observe(4, "s", f"k{key}", 1)
        await one.instance.remove("metrics", 4)
        rows, record = await one.gather()
        assert (total(rows), record["ok"], record["stale"]) == (120, "0-3", "4")
        await one.instance.load("metrics", rank=4)
        one.observe(4, "s", "a", 1)
        rows, record = await one.gather()
        assert (total(rows), record["ok"], record["restarted"]) == (1, "0-4", "")

    cluster(body, size=5)


def test_an_inner_rank_without_the_module_is_gone_round():
    async def body(one: Cluster) -> None:
        await one.create()
        for rank in range(7):
            one.observe(rank, "s", "a", 1)
        await one.instance.remove("metrics", 1)
        rows, record = await one.gather()
        assert (total(rows), record["ok"], record["stale"]) == (7, "0,2-6", "1")

    cluster(body, size=7)


def test_a_crashed_module_that_comes_back_is_restarted():
    async def body(one: Cluster) -> None:
        await one.create()
        await one.gather()
        one.observe(2, "s", "a", 1)
        one.instance.module(2, "metrics").crashed(RuntimeError("on purpose"), None)
        await one.instance.load("metrics", rank=2)
        await one.instance.sleep(0.1)
        one.observe(2, "s", "b", 1)
        rows, record = await one.gather()
        assert (by_key(rows).keys(), record["restarted"], record["ok"]) == ({"b"}, "2", "0-2")

    cluster(body)


def test_an_instance_that_ends_tells_its_last_epoch(tmp_path):
    path = tmp_path / "rows.jsonl"

    async def body(one: Cluster) -> None:
        await one.create(epoch=3600.0, sinks=[{"file": str(path)}])
        for rank in range(5):
            one.observe(rank, "s", "a", 1)

    cluster(body, size=5)
    row, record = map(json.loads, path.read_text().splitlines())
    assert (row["sum"], record["record"]["rows"]) == (5, 1)


def test_a_broken_sink_is_counted_and_keeps_nobody_waiting(tmp_path):
    async def body(one: Cluster) -> None:
        (tmp_path / "here").mkdir()
        await one.create(sinks=[{"file": str(tmp_path / "here" / "x")}, {"event": "my.rows"}])
        # It could be written when it was asked for: only then is it taken.
        (tmp_path / "here").rename(tmp_path / "gone")
        await one.client.call("event.subscribe", {"topic": "my.rows"})
        one.observe(1, "s", "a", 1)
        rows, _ = await one.gather()
        await one.instance.sleep(0.1)
        assert total(rows) == 1
        (broken, event) = (await one.client.call("metrics.stats-get", {}, 0))["sinks"]["t"].values()
        assert (broken["written"], broken["dropped"], "No such file" in broken["error"]) == (0, 2, True)
        assert (event["written"], event["dropped"]) == (2, 0)

    cluster(body)


def test_equal_runs_give_equal_rows():
    async def body(one: Cluster) -> Any:
        apply = ["sum", "average", "unique", "topk", "sample", "last", "quantile"]
        await one.create(reducers=[{"stream": "s", "apply": apply}])
        for at in range(200):
            one.observe(at % 5, "s", f"k{at % 9}", at * 0.1)
        return await one.gather()

    assert cluster(body, size=5) == cluster(body, size=5)


def test_one_rank_gives_the_rows_of_many_ranks():
    async def body(one: Cluster) -> Any:
        await one.create(
            reducers=[{"stream": "s", "apply": ["sum", "min", "max", "unique", "hll_unique", "quantile"]}]
        )
        for at in range(300):
            one.observe(at % one.instance.size, "s", f"k{at % 9}", at * 0.1)
        return [
            {name: value for name, value in row.items() if name not in ("begin", "end")}
            for row in (await one.gather())[0]
        ]

    assert cluster(body, size=1) == cluster(body, size=7) == cluster(body, size=7, fanout=0)


def test_the_example_observes():
    from pathlib import Path

    example = Path(__file__).parents[3] / "examples" / "observing.py"

    async def body(one: Cluster) -> None:
        await one.create(
            reducers=[{"stream": "observing.time", "apply": ["max"], "normalize": {"drop": ["rank"]}}]
        )
        for rank in range(3):
            await one.instance.load(str(example), rank=rank)
            await one.client.call("observing.work", {}, rank)
        ((row,), _) = await one.gather()
        assert (row["key"], row["n"], row["max"]) == ({}, 3, pytest.approx(0.03, abs=1e-3))

    cluster(body)
