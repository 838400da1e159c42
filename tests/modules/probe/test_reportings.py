"""When samples are reported: five triggers, any of which will do, and times of its own for each sink."""

from __future__ import annotations

import pytest

from modules.probe.plan import to_measurement
from modules.probe.sending.reporting import HELD_MAX, to_reporting
from tests.modules.probe.harness import documents, every, lined, probing, run, samples


def reported(tmp_path, reporting, seconds, **more):
    """What stands in the files a, b and c after so long, of a dummy that is read each second."""
    config = {
        "sinks": {name: {"type": "lines", "path": str(tmp_path / name)} for name in "abc"},
        "probes": {"m": {**lined("dummy", every(1), {"value": 3.0}), "reporting": reporting, **more}},
    }

    async def main():
        async with probing() as (instance, client):
            await client.call("probe.reload", {"config": config})
            await instance.sleep(seconds)
            return {name: samples(tmp_path / name) for name in "abc"}

    return run(main)


def numbers(found):
    return {name: [one["seq"] for one in found[name]] for name in found if found[name]}


def test_each_sink_is_told_at_its_own_times_and_its_numbers_have_no_holes(tmp_path):
    reporting = [{"sinks": ["a"]}, {"sinks": ["b"], "every_n": 3}, {"sinks": ["c"], "on_change": True}]
    found = reported(tmp_path, reporting, 4.5)
    assert numbers(found) == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3], "c": [1]}


def test_what_waits_is_reported_by_its_age_whichever_sink_waits_for_it(tmp_path):
    reporting = [{"sinks": ["a"], "every_n": 100}, {"sinks": ["b"], "every_n": 100, "max_age": 2}]
    assert numbers(reported(tmp_path, reporting, 6.5)) == {"b": [1, 2, 3, 4, 5, 6]}


def test_what_waits_is_reported_when_it_is_too_much(tmp_path):
    assert numbers(reported(tmp_path, {"sinks": ["a"], "every_n": 100, "max_bytes": 250}, 7.5)) == {
        "a": [1, 2, 3, 4, 5, 6]
    }


def test_what_is_never_reported_is_bounded_all_the_same():
    assert to_reporting({"every_n": 10**9}).max_bytes == HELD_MAX


def test_a_counter_is_a_sum_for_one_sink_and_a_rate_for_another(tmp_path):
    answers = [{"n": n * n, "fields": {"n": {"kind": "counter"}}} for n in range(9)]
    reporting = [{"sinks": ["a"]}, {"sinks": ["b"], "counters": "delta"}]
    more = {"probe": "replay", "config": {"readings": answers}}
    found = reported(tmp_path, reporting, 3.5, **more)
    assert [one["value"] for one in found["a"]] == [0, 1, 4, 9]
    assert [one["value"] for one in found["b"]] == [1, 3, 5]
    assert documents(tmp_path / "b")[0]["series"]["form"] == "delta"


def test_reportings_are_changed_in_place_and_what_waited_is_sent_as_it_was_meant(tmp_path):
    files = {name: {"type": "lines", "path": str(tmp_path / name)} for name in "abc"}

    async def main():
        async with probing() as (instance, client):
            record = {
                **lined("dummy", every(1)),
                "reporting": [{"sinks": ["a"]}, {"sinks": ["b"], "every_n": 9}],
            }
            await client.call("probe.reload", {"config": {"sinks": files, "probes": {"m": record}}})
            await instance.sleep(2.5)
            assert samples_of("b") == []
            for reporting in ({"sinks": ["a"]}, [{"sinks": ["a"]}, {"sinks": ["b"]}, {"sinks": ["c"]}]):
                await client.call("probe.set", {"name": "m", "record": {"reporting": reporting}})
                await instance.sleep(2)

    def samples_of(name):
        return [one["seq"] for one in samples(tmp_path / name)]

    run(main)
    assert samples_of("a") == [1, 2, 3, 4, 5, 6, 7]
    assert samples_of("b") == [1, 2, 3, 4, 5]
    assert samples_of("c") == [1, 2]
    assert [one["ts"] % 1 for one in samples(tmp_path / "c")] == [0.0, 0.0], "its grid has not moved"


@pytest.mark.parametrize(
    ("reporting", "says"),
    [
        ([], "a list of such"),
        ([{"sinks": ["a"]}, {"sinks": ["b", "a"]}], "reporting/1/sinks: a is in reporting/0, too"),
        ([{}, {"every_n": 0, "sinks": []}], "reporting/1/every_n must be 1 or more runs"),
        ({"max_bytes": 0}, "reporting/max_bytes must be 1 or more bytes"),
        ({"max_age": 10**400}, "reporting/max_age must be a time"),
        ([{}, 5], "reporting/1 must be an object"),
    ],
)
def test_what_is_no_reporting(reporting, says):
    with pytest.raises(ValueError, match=says):
        to_measurement("m", {"probe": "dummy", "reporting": reporting})
