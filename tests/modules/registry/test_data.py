"""The latest samples of series: each once, in order, bounded, kept over a reload; sent by probes of all ranks."""

from __future__ import annotations

import errno
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import EINVAL, ENOENT, RequestError
from modules.registry import data as data_file
from modules.registry.data import Data, Said, mid_of
from tests.modules.registry.test_live import refused, with_registry
from tests.services.test_services import dmesg

CPU = {"subject": "node/0", "metric": "system.cpu.utilization", "attributes": {"cpu.mode": "user"}}
MID = "sha1-c2d3cba3400b0ec4c46c95b9b3c749593af218ef"


def test_a_series_has_the_id_of_the_specification():
    assert mid_of(**CPU) == MID
    assert mid_of("node/0", "m", {"b": "1", "a": "2"}) == mid_of("node/0", "m", {"a": "2", "b": "1"})


@given(st.lists(st.lists(st.integers(1, 30), max_size=6), max_size=8), st.integers(1, 12))
def test_each_number_is_there_once_in_order_and_the_newest_are_kept(batches, most):
    """Against a set: whoever was not answered sends again, and what was late comes in its place."""
    found, seen = Data(most), set()
    for batch in batches:
        (answer,) = found.store([Said(**CPU, samples=[[float(seq), seq * 2, seq] for seq in batch])])
        new = 0
        for seq in batch:
            new += seq not in seen
            seen = set(sorted(seen | {seq})[-most:])
        assert answer["mid"] == MID
        if most >= 30:
            assert answer["stored"] == new
        shown = found.of(MID, None, None, None)["samples"]
        assert [one["seq"] for one in shown] == sorted(seen)
        assert all(one["value"] == 2 * one["seq"] for one in shown)


def test_a_span_is_half_open_and_of_too_many_the_newest_come():
    found = Data()
    found.store([Said(**CPU, samples=[[at, at * 10] for at in range(10)])])
    times = [one["ts"] for one in found.of(MID, 2.0, 8.0, None)["samples"]]
    assert times == [2, 3, 4, 5, 6, 7]
    assert [one["ts"] for one in found.of(MID, 2.0, 8.0, 2)["samples"]] == [6, 7]
    assert found.of(MID, None, None, 0)["samples"] == []
    assert [one["value"] for one in found.latest()] == [90]


@pytest.mark.parametrize(
    ("said", "errnum", "says"),
    [
        ({"samples": [[1, 2]]}, EINVAL, "/1 needs the subject and metric of its series, or its mid"),
        ({"subject": "x", "samples": []}, EINVAL, "/1 needs the subject and metric"),
        ({"mid": "sha1-0", "samples": []}, ENOENT, "/1: series 'sha1-0' is not known here; give its subject"),
        *(
            ({**CPU, "samples": [[1, 2], one]}, EINVAL, "/1/samples/1 must be [ts, value] or [ts, value, seq], not")
            for one in ([], [1], ["1", 2], [1, 2, 0], [1, 2, 1.5], [1, 2, 3, 4], [float("inf"), 1], [1, float("nan")],
                        [1, "x" * 5000], [1, 2, 2**63])
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_nothing_is_stored(said, errnum, says):
    found = Data()
    with pytest.raises(RequestError) as caught:
        found.store([Said(subject="s", metric="m", samples=[[1, 2]]), Said(**said)])
    assert caught.value.errno == errnum and caught.value.text.startswith(says)
    assert found.latest() == []


def test_there_are_only_so_many_series(monkeypatch):
    monkeypatch.setattr(data_file, "SERIES_MAX", 2)
    found = Data()
    for metric in ("a", "b", "a"):
        found.store([Said(subject="s", metric=metric, samples=[[1, 2]])])
    with pytest.raises(RequestError) as caught:
        found.store([Said(subject="s", metric="c", samples=[])])
    assert caught.value.errno == errno.ENOSPC


def test_samples_of_all_ranks_come_to_the_registry_each_once_and_outlive_it():
    async def act(instance, client):
        await instance.load("probe", rank=1)
        probe = instance.client(1)
        record = {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 1}}}
        record["reporting"] = {"sinks": ["registry"]}
        await probe.call("probe.add", {"name": "load", "record": record})
        await instance.sleep(5.5)
        first = await client.call("registry.latest", {})
        await instance.client(0).call("module.remove", {"name": "registry"})
        await instance.sleep(5)  # there is nobody to take them
        queue = (await probe.call("probe.status"))["sinks"][0]
        await instance.load("registry")
        await instance.sleep(65)
        (again,) = (await client.call("registry.latest", {}))["series"]
        whole = await client.call("registry.data", {"mid": again["mid"], "from": None})
        sink = (await probe.call("probe.status"))["sinks"][0]
        return first["series"], queue, whole, sink

    (first,), queue, whole, sink = with_registry(act, size=2)
    assert (first["subject"], first["metric"], first["seq"]) == ("node/1", "value", 6)
    assert queue["queued"] + queue["in_flight"] >= 4 and "registry" in queue["trouble"]
    assert [one["seq"] for one in whole["samples"]] == list(range(1, len(whole["samples"]) + 1))
    assert len(whole["samples"]) > 70 and sink["dropped"] == {}
    assert sink["inserted"] == sink["delivered"] + sink["queued"] + sink["in_flight"]


def test_whoever_asks_for_what_is_not_there_is_told():
    async def act(_, client):
        error = await refused(client, "registry.data", {"mid": "sha1-0"})
        assert error.errno == ENOENT and error.text == "no series 'sha1-0' here"
        assert (await client.call("registry.latest", {}))["series"] == []

    with_registry(act)


def lived(life, seqs):
    return Said(**CPU, samples=[[float(seq), seq, seq] for seq in seqs], life=life)


def test_numbers_of_another_life_go_on_from_those_before_and_each_is_there_once():
    found = Data(5)
    for said in (lived("a", range(1, 8)), lived("b", [1, 2]), lived("b", [1, 2, 3]), lived("c", [11, 12])):
        found.store([said])
    shown = found.of(MID, None, None, None)["samples"]
    assert [(one["seq"], one["value"]) for one in shown] == [(8, 1), (9, 2), (10, 3), (11, 11), (12, 12)]
    again = Data(5)
    again.load(MID, found.kept(MID))
    again.store([lived("c", [12, 13])])
    assert [one["seq"] for one in again.of(MID, None, None, None)["samples"]] == [9, 10, 11, 12, 13]


def test_a_probe_that_is_loaded_again_is_seen_at_once_though_its_numbers_begin_anew():
    async def act(instance, client):
        record = {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 1}}}
        record |= {"reporting": {"sinks": ["registry"]}}
        for value in (1.0, 2.0):
            await instance.load("probe")
            await client.call("probe.add", {"name": "m", "record": record | {"config": {"value": value}}})
            await instance.sleep(400 if value == 1.0 else 5)
            (newest,) = (await client.call("registry.latest", {}))["series"]
            assert newest["value"] == value
            await client.call("module.remove", {"name": "probe"})
        return newest

    assert with_registry(act)["seq"] == 401 + 6


def test_each_request_to_the_registry_is_a_line_for_who_debugs():
    record = {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 1}}}
    config = {"probes": {"m": {**record, "reporting": {"sinks": ["registry"]}}}}

    async def act(instance, client):
        await instance.load("probe", "registry=s0", f"set={json.dumps(config)}")
        await instance.sleep(2.5)
        return await dmesg(client)

    lines = [re.sub(r"[0-9.]+", "N", line) for line in with_registry(act)]
    assert sum("registryNstore: N samples, N bytes, ok, N ms" in line for line in lines) == 3, lines
    assert any("registryNregister: N bytes, ok, N ms" in line for line in lines), lines
    assert any("registryNget: N bytes, ENOENT, N ms" in line for line in lines), lines
