"""What is done so that what runs is what is wanted, and what live edits leave alone."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError
from modules.probe.arbiter import reconcile
from modules.probe.config import to_config
from modules.probe.plan import merged, to_measurement
from tests.modules.probe.harness import documents, every, lined, probing, run, samples


def made(**more):
    return to_measurement("m", {"probe": "dummy", "schedule": every(1), **more})


@pytest.mark.parametrize(
    ("running", "wanted", "act"),
    [
        (None, {}, "start"),
        (None, {"status": "OFF"}, None),
        ({}, None, "stop"),
        ({}, {}, None),
        ({}, {"ts": 5, "version": 9, "id": "x", "selfRef": "y"}, None),
        ({}, {"schedule": every(2)}, "swap"),
        ({}, {"reporting": {"every_n": 2}}, "swap"),
        ({}, {"timeout": 1}, "swap"),
        ({}, {"labels": {"a": "b"}}, "swap"),
        ({}, {"config": {"value": 2.0}}, "replace"),
        ({}, {"config": {"value": 2.0}, "schedule": every(2)}, "replace"),
        ({}, {"probe": "ping"}, "replace"),
        ({}, {"resources": [{"ref": "disk", "usage": 1.0}]}, "replace"),
        ({}, {"status": "OFF"}, "off"),
    ],
)
def test_the_table_of_the_arbiter(running, wanted, act):
    now = {} if running is None else {"m": made(**running)}
    then = {} if wanted is None else {"m": made(**wanted)}
    assert [(one.act, one.name) for one in reconcile(now, then)] == ([] if act is None else [(act, "m")])


def test_a_service_that_is_off_runs_nothing_and_what_goes_goes_first():
    now = {"a": made(), "b": made()}
    assert [one.act for one in reconcile(now, {"a": made(), "c": made()}, is_off=True)] == ["stop", "off"]
    assert [(one.act, one.name) for one in reconcile(now, {"c": made(), "b": made(config={"value": 5.0})})] == [
        ("stop", "a"), ("replace", "b"), ("start", "c")
    ]  # fmt: skip


def test_another_schedule_is_swapped_in_and_series_numbers_live_on(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(10))})
            await instance.sleep(5)
            await client.call("probe.set", {"name": "m", "record": {"schedule": every(1)}})
            await instance.sleep(3.5)
            # Nothing but a new version: it goes on as if nothing had been written.
            await client.call("probe.set", {"name": "m", "record": {"version": 7, "ts": 1}})
            await instance.sleep(1)
            return (await client.call("probe.status", {"name": "m"}))["measurements"][0]

    status = run(main)
    seqs = [one["seq"] for one in samples(path)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert status["counts"]["runs"] == len(seqs) == 6


def test_off_stops_at_once_keeps_the_record_and_on_starts_again(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1000))})
            off = await client.call("probe.set", {"name": "m", "record": {"status": "OFF"}})
            handle = instance.module(0, "probe").handle
            timers = len(handle.timers or ())
            on = await client.call("probe.set", {"name": "m", "record": {"status": "ON"}})
            return off, timers, on

    off, timers, on = run(main)
    assert (off["status"], off["state"], timers) == ("OFF", "OFF", 0)
    assert (on["status"], on["state"]) == ("ON", "WAIT")


def test_a_finished_onetime_is_done_and_wanted_all_the_same(tmp_path):
    async def main():
        async with probing(tmp_path / "x") as (instance, client):
            await client.call("probe.add", {"name": "m", "record": lined("dummy", {"type": "onetime"})})
            await instance.sleep(5)
            done = (await client.call("probe.status", {"name": "m"}))["measurements"][0]
            await client.call("probe.set", {"name": "m", "record": {"schedule": every(1)}})
            await instance.sleep(2)
            return done, (await client.call("probe.status", {"name": "m"}))["measurements"][0]

    done, again = run(main)
    assert (done["status"], done["state"], done["counts"]["runs"]) == ("ON", "DONE", 1)
    assert again["state"] == "WAIT" and again["counts"]["runs"] >= 2


def test_an_invalid_configuration_is_refused_whole_and_the_old_one_runs_on(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1))})
            config = {"probes": {"new": {"probe": "dummy"}, "bad": {"probe": "dummy", "jitter": "much"}}}
            with pytest.raises(RequestError) as refused:
                await client.call("probe.reload", {"config": config})
            await instance.sleep(2)
            return refused.value.text, (await client.call("probe.status"))["measurements"]

    text, found = run(main)
    assert "/probes/bad/jitter must be a time" in text
    assert [(one["name"], one["state"]) for one in found] == [("m", "WAIT")]


def test_what_was_held_when_a_measurement_ends_is_not_lost(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            record = lined("dummy", every(1), reporting={"every_n": 100})
            await client.call("probe.add", {"name": "removed", "record": record})
            await client.call("probe.add", {"name": "unloaded", "record": record})
            await instance.sleep(2.5)
            before = len(samples(path))
            await client.call("probe.remove", {"name": "removed"})
            removed = len(samples(path))
            await instance.remove("probe")
            return before, removed, len(samples(path))

    assert run(main) == (0, 3, 6)


def test_names_that_are_not_there_are_said_with_those_that_are(tmp_path):
    async def main():
        async with probing(tmp_path / "x") as (_, client):
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1))})
            texts = []
            for topic in ("status", "remove", "restart", "run-now"):
                with pytest.raises(RequestError) as refused:
                    await client.call(f"probe.{topic}", {"name": "n"})
                texts.append((refused.value.errno, refused.value.text))
            with pytest.raises(RequestError) as refused:
                await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1))})
            return texts, refused.value.errno

    texts, exists = run(main)
    assert texts == [(2, "no measurement 'n'; there are: m")] * 4
    assert exists == 17


def test_defaults_lie_under_each_probe_as_a_copy_and_null_takes_away():
    config = to_config({
        "probe_defaults": {"schedule": every(7), "config": {"value": 5.0}, "labels": {"a": "b"}},
        "probes": {"x": {"probe": "dummy", "labels": {"c": "d"}}, "y": {"probe": "dummy", "config": {"value": None}},
                   "z": {"probe": "dummy", "schedule": {"type": "onetime"}}},
    })  # fmt: skip
    x, y, z = (config.measurements[name] for name in "xyz")
    assert (x.config, x.record["labels"], dict(y.config)) == ({"value": 5.0}, {"a": "b", "c": "d"}, {})
    assert (x.schedule.every, z.record["schedule"]) == (7.0, {"type": "onetime"})
    weak = {"a": {"b": 1}}
    assert merged(weak, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}} and weak == {"a": {"b": 1}}
    assert merged({"a": {"b": 1}}, {"a": 5}) == {"a": 5} and merged({"a": 5}, {"a": {"b": 1}}) == {
        "a": {"b": 1}
    }


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "a configuration is an object"),
        ({"probs": {}}, "/probs is no key; is probes meant?"),
        ({"status": "on"}, "/status must be ON or OFF"),
        ({"probes": []}, "/probes must be an object"),
        ({"probes": {"x": 5}}, "/probes/x must be an object"),
        ({"probes": {"x": {}}}, "/probes/x/probe: no probe ''"),
        ({"probes": {"x": {"probe": "dummy", "config": {"valu": 1}}}}, "no key 'valu'; is value meant?"),
        ({"probes": {"x": {"probe": "dummy", "reporting": {"sinks": ["y"]}}}}, "/reporting/sinks: no sink 'y'"),
    ],
)  # fmt: skip
def test_an_error_of_a_configuration_has_its_place(config, says):
    with pytest.raises(ValueError) as refused:
        to_config(config)
    assert says in str(refused.value)


def test_what_was_held_is_sent_before_what_comes_after_an_edit(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            record = lined("dummy", every(1), reporting={"every_n": 10})
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(3.5)
            await client.call("probe.set", {"name": "m", "record": {"reporting": {"every_n": 1}}})
            await instance.sleep(3)

    run(main)
    assert [one["seq"] for one in samples(path)] == [1, 2, 3, 4, 5, 6, 7]


def test_a_counter_that_becomes_its_growth_is_told_as_such_and_what_was_raw_stays_raw(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            readings = [
                {"n": value, "fields": {"n": {"kind": "counter"}}} for value in (100, 103, 107, 112, 118, 125)
            ]
            record = lined("replay", every(1), {"readings": readings}, reporting={"every_n": 2})
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(2.5)
            await client.call("probe.set", {"name": "m", "record": {"reporting": {"counters": "delta"}}})
            await instance.sleep(3)
            probe = instance.module(0, "probe").handle.body
            return [one.form for one in probe._works.runners["m"].source.series.values()]

    assert run(main) == ["delta"]
    # The third waited for the second report, but was read as it was counted.
    assert [one["value"] for one in samples(path)] == [100, 103, 107, 5, 6, 7]
    assert sum("series" in one for one in documents(path)) == 2


def test_another_plan_gets_a_measurement_out_of_FAILED_and_jitter_is_drawn_when_it_is_another(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            record = lined("replay", every(1), {"file": str(tmp_path / "late")})
            failed = await client.call("probe.add", {"name": "m", "record": record})
            (tmp_path / "late").write_text('{"v": 1}\n')
            again = await client.call("probe.set", {"name": "m", "record": {"schedule": every(2)}})
            await instance.sleep(10.5)
            await client.call("probe.set", {"name": "m", "record": {"jitter": 1.0}})
            await instance.sleep(10)
            return failed["state"], again["state"]

    assert run(main) == ("FAILED", "WAIT")
    phases = [round(one["ts"] % 2, 3) for one in samples(path)]
    assert len(set(phases)) == 2, phases


def test_names_that_would_be_one_in_statsd_are_refused_and_others_may_be_strange(tmp_path):
    async def main():
        async with probing(tmp_path / "x", stats="mem:") as (instance, client):
            for name in ("a.b", "c d|e:1"):
                await client.call("probe.add", {"name": name, "record": lined("dummy", every(1))})
            with pytest.raises(RequestError, match=r"both be named a_b\.\*"):
                await client.call("probe.add", {"name": "a_b", "record": lined("dummy", every(1))})
            await instance.sleep(11)
            status = (await client.call("probe.status"))["measurements"]
            return {one["name"]: (one["counts"].get("fail", 0) > 0, one["last_failure"]) for one in status}

    assert run(main) == {"a.b": (False, ""), "c d|e:1": (False, "")}
