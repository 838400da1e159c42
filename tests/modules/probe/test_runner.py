"""Measurements on dummy and replay in virtual time: when they run, what they report, how they fail."""

from __future__ import annotations

from itertools import pairwise

import pytest

from brokersim import open_instance
from brokersim.brokermod import RequestError
from tests.modules.probe.harness import documents, every, lined, probing, run, samples


def measure(tmp_path, record, seconds, **options):
    """Times at which ``record`` was read, from its start; its status; the lines."""
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path, **options) as (instance, client):
            start = instance.broker(0).instance.epoch + instance.reactor.now / 1e9
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(seconds)
            status = (await client.call("probe.status", {"name": "m"}))["measurements"][0]
        return start, status

    start, status = run(main)
    return [one["ts"] - start for one in samples(path)], status, documents(path)


def test_a_grid_is_kept_to_the_instant(tmp_path):
    times, status, _ = measure(tmp_path, lined("dummy", every(2)), 9)
    assert times == pytest.approx([0, 2, 4, 6, 8], abs=1e-6)
    assert (status["state"], status["counts"]["runs"]) == ("WAIT", 5)


NESTED = {"type": "nested", "params": {"spec": ["P", 2, 10]}}


@pytest.mark.parametrize(
    ("policy", "starts", "counts"),
    [
        ("skip", [0, 4, 8], {"overrun": 2}),
        ("delay", [0, 3, 6, 9], {"late": 3, "merged": 1}),
        ("catch-up", [0, 3, 6, 9, 12], {"late": 4}),
    ],
)
def test_a_tick_inside_a_run_is_dropped_delayed_or_made_up_for(tmp_path, policy, starts, counts):
    record = lined("dummy", NESTED, {"duration": 3}, overlap=policy, timeout=5)
    times, status, _ = measure(tmp_path, record, 20)
    assert times == pytest.approx(starts, abs=1e-6)
    assert {key: status["counts"].get(key, 0) for key in ("overrun", "late", "merged")} == {
        "overrun": 0, "late": 0, "merged": 0, **counts
    }  # fmt: skip
    assert status["state"] == "DONE"


def test_runs_as_long_as_their_interval_drop_no_tick(tmp_path):
    times, status, _ = measure(tmp_path, lined("dummy", every(2), {"duration": 2}, timeout=5), 9)
    assert times == pytest.approx([0, 2, 4, 6], abs=1e-6)
    assert status["counts"].get("overrun", 0) == 0


def test_jitter_shifts_the_whole_grid_once(tmp_path):
    times, _, _ = measure(tmp_path, lined("dummy", every(2), jitter=1.5), 21)
    assert 0 < times[0] < 1.5
    gaps = [round(later - earlier, 6) for earlier, later in pairwise(times)]
    assert set(gaps) == {2.0}


def test_reports_come_after_every_third_run(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        seen = []
        async with probing(path) as (instance, client):
            record = lined("dummy", every(2), reporting={"every_n": 3})
            await client.call("probe.add", {"name": "m", "record": record})
            for _ in range(19):
                seen.append(len(samples(path)))
                await instance.sleep(1)
        return seen, len(samples(path))

    seen, last = run(main)
    assert [n for n in seen if n] == [3] * 6 + [6] * 6 + [9] * 3  # from 4, from 10, from 16 on
    assert last == 10  # the tenth run is reported at the stop


def test_what_is_held_is_reported_when_it_comes_of_age(tmp_path):
    record = lined("dummy", every(2), reporting={"every_n": 100, "max_age": 5})
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(4.9)
            before = len(samples(path))
            await instance.sleep(0.2)
            return before, len(samples(path))

    assert run(main) == (0, 3)


def test_only_what_moved_is_sent_if_that_is_wanted(tmp_path):
    readings = [{"v": value} for value in (1, 1.4, 1.6, 1.7, 2.2, 0)]
    record = lined("replay", every(1), {"readings": readings, "once": True}, reporting={"on_change": 0.5})
    _, _, lines = measure(tmp_path, record, 10)
    assert [one["value"] for one in lines if "value" in one] == [1, 1.6, 2.2, 0]


def test_words_are_sent_when_they_change(tmp_path):
    readings = [{"how": word} for word in ("well", "well", "ill", "ill", "well")]
    record = lined("replay", every(1), {"readings": readings, "once": True}, reporting={"on_change": True})
    _, _, lines = measure(tmp_path, record, 10)
    assert [one["value"] for one in lines if "value" in one] == ["well", "ill", "well"]


def test_a_series_is_described_once_before_its_first_sample(tmp_path):
    record = lined("replay", every(1), {"readings": [{"x/y": {"v": 1}}, {"x/y": {"v": 2}, "z": {"v": 3}}]})
    _, _, lines = measure(tmp_path, record, 1.5)
    kinds = ["series" if "series" in one else "value" for one in lines]
    assert kinds == ["series", "value", "series", "value", "value"]
    described = lines[0]["series"]
    assert (described["subject"], described["metric"], described["name"]) == ("x/y", "v", "m.x.y.v")
    assert lines[1]["mid"] == described["mid"]
    assert [one["seq"] for one in lines if one.get("mid") == described["mid"]] == [1, 2]


def test_a_reading_may_have_a_time_of_its_own(tmp_path):
    record = lined("replay", every(1), {"readings": [{"v": 1, "ts": 1360584000.5}], "once": True})
    _, _, lines = measure(tmp_path, record, 1)
    assert lines[1]["ts"] == 1360584000.5


def test_counters_are_sent_as_they_are_or_as_what_they_grew_by(tmp_path):
    async def main():
        async with probing(tmp_path / "lines.jsonl", modules=("heartbeat",)) as (instance, client):
            for form in ("raw", "delta", "rate"):
                record = lined("module", every(2), {"service": "heartbeat"}, reporting={"counters": form})
                await client.call("probe.add", {"name": form, "record": record})
            await instance.sleep(7)

    run(main)
    lines = documents(tmp_path / "lines.jsonl")
    names = {one["series"]["mid"]: one["series"] for one in lines if "series" in one}
    assert all(one["kind"] == "counter" for one in names.values())
    asked = [one for one in lines if one.get("mid") and names[one["mid"]]["attributes"]["type"] == "request"]
    tx = [one["value"] for one in asked if names[one["mid"]]["attributes"]["direction"] == "tx"]
    assert tx and all(value >= 0 for value in tx)


def test_a_failing_probe_backs_off_and_comes_back_on_its_grid(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with probing(path) as (instance, client):
            await client.call("event.subscribe", {"topic": "probe.state"})
            states = []
            await client.call(
                "probe.add", {"name": "bad", "record": lined("dummy", every(1), {"fail": "broken"})}
            )
            await client.call("probe.add", {"name": "good", "record": lined("dummy", every(1))})
            for _ in range(300):
                await instance.sleep(1)
                found = (await client.call("probe.status"))["measurements"]
                states.append(next(one["state"] for one in found if one["name"] == "bad"))
            return states, {one["name"]: one for one in found}

    states, found = run(main)
    # Never given up for readings that fail, and its sibling missed nothing.
    assert "BACKOFF" in states and states.count("WAIT") > 5 and "FAILED" not in states
    assert found["bad"]["last_failure"] == "ValueError: broken"
    assert found["good"]["counts"]["runs"] in (300, 301)
    # Backing off doubles up to a minute: with 3 runs a try it runs far less than each second.
    assert found["bad"]["counts"]["runs"] < 60


def test_a_probe_that_must_not_be_restarted_fails_and_a_restart_begins_it_anew(tmp_path):
    async def main():
        async with probing(tmp_path / "x") as (instance, client):
            record = lined("dummy", every(1), {"fail": "broken"}, restart="never")
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(5)
            failed = (await client.call("probe.status", {"name": "m"}))["measurements"][0]
            again = await client.call("probe.restart", {"name": "m"})
            return failed, again

    failed, again = run(main)
    assert (failed["state"], failed["reason"], failed["counts"]["runs"]) == (
        "FAILED",
        "ValueError: broken",
        3,
    )
    assert again["state"] == "WAIT"


def test_a_read_that_hangs_is_timed_out_forgotten_and_leaves_nothing_pending(tmp_path):
    async def main():
        async with probing(tmp_path / "x") as (instance, client):
            record = lined("dummy", every(2), {"duration": 1000})
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(600)
            status = (await client.call("probe.status", {"name": "m"}))["measurements"][0]
            handle = instance.module(0, "probe").handle
            return status, len(handle.pending), len(handle.timers)

    status, pending, timers = run(main)
    assert status["counts"]["timeout"] >= 9 and status["counts"]["timeout"] == status["counts"]["fail"]
    assert pending <= 1 and timers <= 3


def test_a_configuration_that_cannot_heal_fails_at_once(tmp_path):
    async def main():
        async with probing(tmp_path / "x") as (_, client):
            record = lined("replay", every(1), {"file": str(tmp_path / "nowhere")})
            status = await client.call("probe.add", {"name": "m", "record": record})
            return status

    status = run(main)
    assert status["state"] == "FAILED"
    assert "nowhere" in status["reason"]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            {"probe": "cpu"},
            "/probes/m: probe 'cpu' reads this machine, which has no virtual time; use replay, or",
        ),
        ({"probe": "dumy"}, "/probes/m/probe: no probe 'dumy'; is dummy meant?"),
        ({"probe": "dummy", "shedule": 1}, "/probes/m/shedule is no key; is schedule meant?"),
        (
            {"probe": "dummy", "schedule": {"type": "every", "params": {"every": 0}}},
            "every must be a time of 1 ms",
        ),
        ({"probe": "dummy", "overlap": "queue"}, "overlap must be skip or delay or catch-up"),
        (
            {"probe": "module", "config": {"service": "kvs"}, "isolation": "process"},
            "isolation must be inline for probe 'module': it asks by messages",
        ),
        (
            {"probe": "dummy", "reporting": {"sinks": ["file"]}},
            "no sink 'file'; there is statsd, metrics, registry, lines",
        ),
        ({"probe": "dummy", "reporting": {"every_n": 0}}, "reporting/every_n must be 1 or more"),
        ({"probe": "dummy", "timeout": "soon"}, "timeout must be a time"),
        ({"probe": "module"}, "give service=NAME"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_its_place(tmp_path, record, says):
    async def main():
        async with probing(tmp_path / "x") as (_, client):
            with pytest.raises(RequestError) as refused:
                await client.call("probe.add", {"name": "m", "record": record})
            return refused.value

    error = run(main)
    assert error.errno == 22
    assert says in error.text


def test_ping_and_what_cannot_be_reached(tmp_path):
    path = tmp_path / "lines.jsonl"

    async def main():
        async with open_instance(size=3, modules=[]) as instance:
            await instance.load("probe", rank=2)
            client = instance.client(2)
            await client.call("probe.reload", {"config": {"sinks": {"lines": {"path": str(path)}}}})
            for name, config in (("near", {}), ("far", {"rank": 1, "service": "nothing"})):
                await client.call("probe.add", {"name": name, "record": lined("ping", every(10), config)})
            await instance.sleep(1)

    run(main)
    lines = documents(path)
    by_mid = {one["series"]["mid"]: one["series"]["name"] for one in lines if "series" in one}
    values = {by_mid[one["mid"]]: one["value"] for one in lines if "value" in one}
    assert values["far.ping.1.nothing.unreachable"] == "ENOSYS"
    assert values["near.ping.0.broker.rtt"] > 0


def test_readings_above_a_rule_are_followed_closer_before_the_next_report(tmp_path):
    values = [0.1, 0.9, 0.9, 0.6, 0.4, 0.4, 0.1, 0.1]
    rule = {"metric": "v", "above": 0.8, "every": 1, "below": 0.5, "calm": 2}
    schedule = {"type": "adaptive", "params": {"base": 10, "rules": [rule]}}
    record = lined(
        "replay", schedule, {"readings": [{"v": value} for value in values]}, reporting={"every_n": 100}
    )
    times, status, _ = measure(tmp_path, record, 35)
    assert times == pytest.approx([0, 10, 11, 12, 13, 14, 20, 30], abs=1e-6)
    assert "overrun" not in status["counts"]
