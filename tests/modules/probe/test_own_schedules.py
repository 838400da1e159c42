"""Schedules that are functions of somebody's own: heard, told what was read, and never trusted."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from brokersim.protocol.schedules import parse_schedule, to_schedule, to_spec
from tests.modules.probe.harness import lined, probing, run, samples

OWN = "tests.fixture_ticks"


def own(name, **params):
    return {"type": f"{OWN}:{name}", "params": params}


def measured(tmp_path, schedule, seconds, probe="dummy", config=None, **more):
    """Seconds of its samples since the first, and its last status."""

    async def main():
        async with probing(tmp_path / "lines") as (instance, client):
            await client.call("probe.add", {"name": "m", "record": lined(probe, schedule, config, **more)})
            await instance.sleep(seconds)
            return (await client.call("probe.status"))["measurements"][0]

    status = run(main)
    times = [one["ts"] for one in samples(tmp_path / "lines")]
    return [round(one - times[0], 3) for one in times], status


def test_ticks_are_those_that_a_function_says(tmp_path):
    times, status = measured(tmp_path, own("bursts", count=3, rest=5), 11)
    assert times == [0, 1, 2, 5, 6, 7, 10, 11] and status["state"] == "WAIT"
    assert status["schedule"] == own("bursts", count=3, rest=5)


def test_one_that_ends_is_done_and_one_that_hears_nothing_has_its_overlaps(tmp_path):
    times, status = measured(tmp_path, own("three"), 9)
    assert (times, status["state"]) == ([0, 1, 2], "DONE")
    (tmp_path / "lines").unlink()
    times, status = measured(tmp_path, own("three"), 9, config={"duration": 1.5}, timeout=9)
    assert (times, status["counts"]["overrun"]) == ([0, 2], 1)


def test_a_generator_is_sent_what_was_read_and_answers_with_the_next_tick(tmp_path):
    values = [{"value": value} for value in (1, 9, 9, 1)]
    times, _ = measured(tmp_path, own("chased"), 8, "replay", {"readings": [*values, {"value": 1}]})
    assert times == [0, 4, 6, 7, 8]


def test_it_is_told_of_a_run_that_failed(tmp_path):
    program = [{"value": 1}, {"ts": "junk", "value": 1}, {"value": 1}, {"value": 1}]
    times, status = measured(tmp_path, own("chased"), 21, "replay", {"readings": program})
    assert (times, status["counts"]["fail"]) == ([0, 12, 20], 1)


@pytest.mark.parametrize(
    ("overlap", "starts", "counts"),
    [("skip", [0, 10, 20], {"overrun": 3}), ("catch-up", [0, 3, 10, 13, 20], {})],
)
def test_a_tick_that_passed_during_a_run_is_dropped_or_run_at_once(tmp_path, overlap, starts, counts):
    schedule = own("bursts", count=2, rest=10)
    times, status = measured(tmp_path, schedule, 24, config={"duration": 3.0}, timeout=9, overlap=overlap)
    assert times == starts
    assert {key: status["counts"].get(key) for key in counts} == counts


@pytest.mark.parametrize(
    ("name", "says"),
    [("falls", "ticks are numbers that never fall"), ("words", "says 'noon' after"), ("breaks", "out of ticks"),
     ("behind", "ticks in a row that have passed"), ("one_for_ever", "ticks in a row"),
     ("leaves", "would end the process")],
)  # fmt: skip
def test_one_that_says_what_is_no_tick_has_failed_and_says_why(tmp_path, name, says):
    async def main():
        async with probing(tmp_path / "lines") as (instance, client):
            for one, schedule in (("m", own(name)), ("good", {"type": "every", "params": {"every": 1}})):
                await client.call("probe.add", {"name": one, "record": lined("dummy", schedule)})
            await instance.sleep(3.5)
            return {one["name"]: one for one in (await client.call("probe.status"))["measurements"]}

    found = run(main)
    assert found["m"]["state"] == "FAILED" and says in found["m"]["reason"]
    assert found["good"]["counts"]["runs"] == 4


def test_the_same_seed_draws_the_same_ticks(tmp_path):
    first, _ = measured(tmp_path, own("draws"), 30)
    (tmp_path / "lines").unlink()
    assert measured(tmp_path, own("draws"), 30)[0] == first and len(first) > 10


def test_a_run_beside_the_schedule_takes_no_tick_of_it(tmp_path):
    async def main():
        async with probing(tmp_path / "lines") as (instance, client):
            await client.call(
                "probe.add", {"name": "m", "record": lined("dummy", own("bursts", count=1, rest=4))}
            )
            await instance.sleep(1)
            await client.call("probe.run-now", {"name": "m"})
            await instance.sleep(8)

    run(main)
    times = [one["ts"] for one in samples(tmp_path / "lines")]
    assert [one - times[0] for one in times] == [0, 1, 4, 8]


@pytest.mark.parametrize(
    ("name", "says"),
    [(f"{OWN}:nothing", "nothing"), ("nowhere.at.all:x", "nowhere"), (f"{OWN}:NUMBER", "is no function")],
)
def test_a_function_that_is_not_there_is_refused_before_anything_runs(name, says):
    with pytest.raises(ValueError, match=says):
        to_schedule({"type": name})


def test_it_is_written_as_it_is_said():
    said = parse_schedule(f"{OWN}:bursts count=1 rest=7")
    assert to_schedule(to_spec(said)) == said and said.params == {"count": 1, "rest": 7}
    assert list(islice(said.ticks(100.0, random.Random(0)), 3)) == [100, 107, 114]
