"""The oracle: cases with numbers from Zeek's own tests, for every fanout and placement of those that observe.

`tests/data/sumstats_cases.json` restates facts; what its fields mean is told there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.modules.metrics.live import Cluster, cluster
from tests.modules.metrics.rig import shown, stat, table

DATA = json.loads((Path(__file__).parents[2] / "data" / "sumstats_cases.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in DATA["cases"]}
#: Our names for what rows show, where Zeek has another.
NAMES = {"num": "n"}
PARAMS = {
    "num_samples": "num_samples", "num_last_elements": "num_last_elements", "topk_size": "topk_size"
}  # fmt: skip
#: Of a cluster with rank 0 and two observers: on leaves, on an inner rank, on rank 0.
SHAPES = [
    *((3, fanout, (1, 2)) for fanout in (1, 2, 3)),
    *((3, fanout, (0, 2)) for fanout in (1, 2)),
    *((6, fanout, (1, 4)) for fanout in (1, 2, 5)),
    *((6, fanout, (4, 5)) for fanout in (2, 3)),
    (4, 0, (3, 0)),
]


def definition(case: dict[str, Any]) -> dict[str, Any]:
    """The case's stat as ours."""
    if case.get("framework") == "metrics":
        return {
            "name": "t",
            "epoch": case["filter"]["break_interval_s"],
            "reducers": [{"stream": "s", "apply": ["sum"]}],
        }
    sources = []
    for one in case["reducers"]:
        params = {ours: one[theirs] for theirs, ours in PARAMS.items() if theirs in one}
        sources.append({"stream": one["stream"], "apply": one["apply"], "params": params})
    made = {"name": "t", "epoch": case["epoch_s"], "reducers": sources}
    if "threshold" in case:
        made["threshold"] = {"value": case["threshold"]["value_of"], "at": case["threshold"]["threshold"]}
    return made


def value_of(obs: dict[str, Any]) -> Any:
    return obs["num"] if "num" in obs else obs["str"]


class Played:
    """A case on a cluster: nodes are placed on ranks, observations made, what is told is kept."""

    def __init__(self, one: Cluster, case: dict[str, Any], placed: tuple[int, ...]) -> None:
        nodes = case.get("workers") or ["local"]
        self.rank = dict(zip(nodes, placed, strict=False))
        self.one = one
        self.case = case

    def observe(self, obs: dict[str, Any]) -> None:
        self.one.observe(self.rank[obs["node"]], obs["stream"], obs["key"], value_of(obs["obs"]))

    async def all(self) -> None:
        pause = self.case.get("observe_every_s")
        now = 0.0
        for obs in [*self.case.get("observations", ()), *self.case.get("timed_observations", ())]:
            if "t" in obs:
                await self.one.instance.sleep(obs["t"] - now)
                now = obs["t"]
            self.observe(obs)
            if pause:
                await self.one.instance.sleep(pause)
        for add in self.case.get("add_data", ()):
            self.one.observe(self.rank[add["node"]], "s", add["index"], add["increment"])
        for count in self.case.get("counts", ()):
            stream = self.case["reducers"][0]["stream"]
            for value, times in count["value_counts"].items():
                for _ in range(times):
                    self.one.observe(self.rank[count["node"]], stream, count["key"], int(value))


def play(
    case: dict[str, Any], shape: tuple[int, int, tuple[int, ...]], after: float = 0.0
) -> list[tuple[str, Any]]:
    """All that is told of the case's first epoch; (time, what) of crossings."""
    size, fanout, placed = shape

    async def body(one: Cluster) -> list[tuple[str, Any]]:
        await one.create(definition(case))
        told = one.follow()
        await Played(one, case, placed).all()
        await one.instance.sleep(after or case.get("epoch_s", 0) + 1)
        return list(told)

    return cluster(body, size, fanout)


def rows_of(told: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [row for what, row in told if what == "row"]


def same_key(row: dict[str, Any], key: dict[str, Any]) -> bool:
    return row["key"] == key


def check_rows(rows: list[dict[str, Any]], wanted: list[dict[str, Any]], decimals: int) -> None:
    assert sorted(json.dumps(row["key"]) for row in rows) == sorted(json.dumps(row["key"]) for row in wanted)
    for want in wanted:
        (row,) = [one for one in rows if same_key(one, want["key"])]
        for name, value in want.items():
            if name != "key":
                found = row[NAMES.get(name, name)]
                if isinstance(value, int):
                    assert found == value, (name, row)
                else:
                    assert abs(found - value) <= 0.5 * 10**-decimals + 1e-9, (name, row)


def standalone() -> list[tuple[int, int, tuple[int, ...]]]:
    """One rank, and the same on one rank of many."""
    return [(1, 2, (0,)), (3, 2, (2,)), (6, 2, (1,))]


@pytest.mark.parametrize("shape", standalone())
def test_basic_standalone(shape):
    case = CASES["basic_standalone"]
    told = play(case, shape, 3.5)
    check_rows(rows_of(told), case["expect"]["epoch_result"], 1)
    assert [what for what, _ in told][-1] == "record"


@pytest.mark.parametrize("shape", SHAPES)
def test_basic_cluster(shape):
    case = CASES["basic_cluster"]
    check_rows(rows_of(play(case, shape, 5.5)), case["expect"]["epoch_result"], 1)


@pytest.mark.parametrize("shape", standalone())
def test_manual_epoch_standalone(shape):
    case = CASES["manual_epoch_standalone"]
    size, fanout, placed = shape

    async def body(one: Cluster) -> None:
        await one.create(definition(case))
        played = Played(one, case, placed)
        told: list[tuple[str, Any]] = one.follow()
        for step in case["steps"]:
            if step["op"] == "next_epoch":
                told.clear()
                answer = await one.client.call("metrics.next-epoch", {"name": "t"}, 0)
                assert answer["ok"] == step["returns"]
                await one.instance.sleep(1.0)
            elif step["op"] == "observe":
                for obs in step["observations"]:
                    played.observe(obs)
            else:
                check_rows(rows_of(told), step["epoch_result"], case["expect"]["decimals"])
                assert [what for what, _ in told].count("record") == step["epoch_finished"]

    cluster(body, size, fanout)


@pytest.mark.parametrize("shape", SHAPES)
def test_intermediate_update_cluster(shape):
    case = CASES["intermediate_update_cluster"]
    size, fanout, placed = shape

    async def body(one: Cluster) -> tuple[float, list[tuple[str, Any]]]:
        await one.create(definition(case))
        told = one.follow()
        await Played(one, case, placed).all()
        observed = one.instance.reactor.now
        while not told:
            await one.instance.sleep(10e-6)
        crossed = one.instance.reactor.now
        await one.instance.sleep(15.0)
        return (crossed - observed) / 1e9, list(told)

    after, told = cluster(body, size, fanout)
    names = {"crossed": "threshold_crossed", "row": "epoch_result", "record": "epoch_finished"}
    assert [names[what] for what, _ in told] == case["expect"]["order"]
    (crossing,) = [value for what, value in told if what == "crossed"]
    assert {"key": crossing["key"], "value": crossing["value"]} == case["expect"]["threshold_crossed"][0]
    assert [row["sum"] for row in rows_of(told)] == case["expect"]["epoch_result_sum"]
    # The way of a report up, and a look over the tree and back: the links take 50 us a hop.
    assert after <= 3 * size * 50e-6 + 1e-4


@pytest.mark.parametrize("shape", standalone())
def test_thresholding_single(shape):
    case = CASES["thresholding_single"]
    told = play(case, shape, 3.5)
    crossed = [{"key": value["key"], "value": value["value"]} for what, value in told if what == "crossed"]
    assert sorted(crossed, key=str) == sorted(case["expect"]["threshold_crossed"], key=str)
    assert len(crossed) == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_on_demand_key_cluster(shape):
    case = CASES["on_demand_key_cluster"]
    size, fanout, placed = shape

    async def body(one: Cluster) -> None:
        await one.create(definition(case))
        await Played(one, case, placed).all()
        for nodeid in (0, size - 1, 0):
            found = await one.client.call(
                "metrics.request-key", {"name": "t", "key": case["request_key"]}, nodeid
            )
            assert found["result"]["sum"] == case["expect"]["test"]["sum"]
            assert found["missing"] == ""
        none = await one.client.call("metrics.request-key", {"name": "t", "key": "nosuch"}, 0)
        assert (none["result"], none["missing"]) == (None, "")

    cluster(body, size, fanout)


@pytest.mark.parametrize("shape", [(size, fanout, placed[:1]) for size, fanout, placed in SHAPES])
def test_last_cluster(shape):
    case = CASES["last_cluster"]
    told = play(case, shape, 1.0)  # long before the epoch's end
    assert [what for what, _ in told] == ["crossed"] * 8
    assert [value["row"]["last"] for _, value in told] == case["expect"]["threshold_crossed_last"]


@pytest.mark.parametrize("shape", standalone())
def test_sample_standalone(shape):
    case = CASES["sample_standalone"]
    rows = rows_of(play(case, shape, 3.5))
    for want in case["expect"]["sample"]:
        (row,) = [one for one in rows if same_key(one, want["key"])]
        assert row["sample_elements"] == want["sample_elements"]
        if "samples" in want:
            assert row["samples"] == want["samples"]
        else:
            assert len(row["samples"]) == want["len"]
            assert set(row["samples"]) <= set(want["subset_of"])


@pytest.mark.parametrize("shape", standalone())
def test_topk_standalone(shape):
    case = CASES["topk_standalone"]
    rows = rows_of(play(case, shape, 3.5))
    for want in case["expect"]["topk"]:
        (row,) = [one for one in rows if same_key(one, want["key"])]
        assert row["topk"][: len(want["top"])] == want["top"]


@pytest.mark.parametrize("shape", SHAPES)
def test_metrics_basic_cluster(shape):
    case = CASES["metrics_basic_cluster"]
    told = play(case, shape, 3.5)
    found = {json.dumps(row["key"]): row["sum"] for row in rows_of(told)}
    assert found == {json.dumps(key): value for key, value in case["expect"]["log"]}
    (record,) = [value for what, value in told if what == "record"]
    # The one ts of all rows is the time of the request.
    assert record["requested"] <= record["cut"][0] <= record["cut"][1] <= record["completed"]


@pytest.mark.parametrize("fanout", [1, 2, 4])
@pytest.mark.parametrize("count", [int(n) for n in CASES["seed_chunking"]["expect"]["messages_for_n_keys"]])
def test_seed_chunking(count, fanout):
    case = CASES["seed_chunking"]
    size = 5

    async def body(one: Cluster) -> dict[int, list[list[Any]]]:
        await one.create(group=case["group_size"])
        for key in range(count):
            one.observe(4, "s", f"k{key:04}", 1)
        frames: dict[int, list[list[Any]]] = {}
        for rank in range(size):
            one.instance.module(rank, "metrics").handle.set_tracer(
                lambda way, actor, message: _note(frames, way, message)
            )
        await one.gather()
        return frames

    frames = cluster(body, size, fanout)
    last = case["expect"]["messages_for_n_keys"][str(count)]
    way = {rank for rank in range(1, size) if _is_on_the_way(rank, 4, fanout)}
    assert frames == {rank: last if rank in way else [[0, True]] for rank in range(1, size)}


def _is_on_the_way(rank: int, below: int, fanout: int) -> bool:
    while below > rank:
        below = (below - 1) // fanout
    return below == rank


def _note(frames: dict[int, list[list[Any]]], way: str, message: Any) -> None:
    if way == "tx" and message.topic == "metrics.collect" and message.type == 3 and message.data:
        frames.setdefault(message.data["rank"], []).append(
            [len(message.data.get("rows", ())), message.data.get("done", False)]
        )


@pytest.mark.parametrize("partition", CASES["merge_any_tree_exact"]["partitions_to_try"], ids=len)
@pytest.mark.parametrize("fanout", [1, 2, 9])
def test_merge_any_tree_exact(partition, fanout):
    want = CASES["merge_any_tree_exact"]["expect"]

    async def body(one: Cluster) -> None:
        apply = ["sum", "average", "variance", "std_dev", "min", "max", "unique"]
        await one.create(reducers=[{"stream": "s", "apply": apply}])
        for rank, values in enumerate(partition):
            for value in values:
                one.observe(rank, "s", "k", value)
        ((row,), _) = await one.gather()
        for name, value in want.items():
            if name != "tolerance":
                assert abs(row[NAMES.get(name, name)] - value) <= want["tolerance"]

    cluster(body, 9, fanout)


def test_string_observation_counts_one():
    case = CASES["string_observation_counts_one"]
    one = stat(apply=("sum", "average", "unique"))
    held = table(one)
    for obs in case["observations"]:
        held.taps[0].observe(obs["key"], value_of(obs["obs"]))
    (row,) = shown(one, held.swap()).values()
    assert {name: row[NAMES.get(name, name)] for name in case["expect"]} == case["expect"]


def test_every_case_of_the_oracle_is_played():
    played = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    elsewhere = {"seed_completion"}  # test_completion.py
    assert set(CASES) <= played | elsewhere
