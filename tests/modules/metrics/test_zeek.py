"""`--compat zeek-2011`: the messages of the script, and what it does when workers fail."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from brokersim.protocol.errnums import EINVAL, ETIMEDOUT, RequestError
from brokersim.protocol.message import Message
from tests.modules.metrics.live import Cluster, by_key, cluster


async def listened(one: Cluster) -> list[tuple[str, dict[str, Any]]]:
    heard: list[tuple[str, dict[str, Any]]] = []
    client = one.instance.client(0)
    client.set_tracer(
        lambda way, actor, message: (
            heard.append((message.topic, message.data))
            if way == "rx" and message.topic.startswith("metrics.cluster_")
            else None
        )
    )
    await client.call("event.subscribe", {"topic": "metrics.cluster_"})
    return heard


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (50, [50]), (51, [50, 1]), (100, [50, 50])])
def test_the_messages_are_those_of_the_script(count, sizes):
    async def body(one: Cluster) -> None:
        await one.create(compat="zeek-2011", epoch=0)
        heard = await listened(one)
        for rank in (1, 2):
            for key in range(count):
                one.observe(rank, "s", f"k{key:03}", rank)
        told = one.follow()
        await one.client.call("metrics.next-epoch", {"name": "t"}, 0)
        await one.instance.sleep(1.0)
        uid = heard[0][1]["uid"]
        assert heard[0] == ("metrics.cluster_collect", {"uid": uid, "id": "s", "filter_name": "t"})
        results = [data for topic, data in heard if topic == "metrics.cluster_results"]
        assert sorted((len(data["data"]), data["done"]) for data in results) == sorted(
            2 * [(size, at == len(sizes) - 1) for at, size in enumerate(sizes)]
        )
        assert all(set(data) == {"uid", "id", "filter_name", "data", "done"} for data in results)
        assert {
            key: row["sum"] for key, row in by_key([row for what, row in told if what == "row"]).items()
        } == {f"k{key:03}": 3 for key in range(count)}
        assert [what for what, _ in told].count("record") == 1

    cluster(body, size=3)


def test_a_silent_worker_loses_the_epoch_for_all_as_it_did():
    async def body(one: Cluster) -> None:
        await one.create(compat="zeek-2011")
        told = one.follow()
        one.observe(1, "s", "a", 1)
        await one.instance.remove("metrics", 2)
        await one.client.call("metrics.next-epoch", {"name": "t"}, 0)
        await one.instance.sleep(400.0)
        assert told == []
        assert one.module(0)._script._collecting == {}

    cluster(body, size=3)


def test_who_collects_what_is_lost_is_told_when_the_script_forgets_it():
    async def body(one: Cluster) -> None:
        await one.create(compat="zeek-2011")
        await one.instance.remove("metrics", 2)
        begun = one.client.now()
        told: list[tuple[int, str | None]] = []
        over = trio.Event()

        def heard(response: Message, _: object) -> None:
            told.append((response.errnum, response.payload_str))
            over.set()

        one.client.stream("metrics.gather", {"name": "t"}, heard, None, 0)
        await over.wait()
        assert told == [(ETIMEDOUT, "stat t: 1 of 2 workers said done: the epoch is lost")]
        assert one.client.now() - begun == pytest.approx(300.0, abs=0.1)
        assert one.module(0)._root.courses["t"].scripted == []

    cluster(body, size=3)


def test_it_knows_sums_only():
    async def body(one: Cluster) -> None:
        with pytest.raises(RequestError, match="zeek-2011 knows one stream and its sum") as caught:
            await one.create(compat="zeek-2011", reducers=[{"stream": "s", "apply": ["max"]}])
        assert caught.value.errno == EINVAL

    cluster(body, size=2)
