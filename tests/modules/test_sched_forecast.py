"""What jobs that wait are told, and the bits by which a scheduler is made to misbehave (flux-core's)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.brokermod import RequestError, Resources, errnums
from modules.sched.forecast import estimates
from modules.sched.options import forecast_option
from modules.sched.pool import Pool
from modules.sched.queue import Waiting
from modules.sched.request import Request
from tests.effort import examples
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, submit

FAIL_ALLOC, REASON, DENY_EXPIRATION = 1, 2, 4


def waiting(cores, duration=0.0):
    return Waiting(1, 16, 0.0, Request(nodes=0, slots=cores, cores=1, gpus=0), None, duration)


def told(shape, running, jobs, now=100.0):
    pool = Pool(Resources.parse(shape))
    held = [(end, pool.allocate(waiting(cores).request)) for end, cores in running]
    free = pool.free_cores
    found = list(estimates(pool, held, [waiting(*job) for job in jobs], now))
    assert pool.free_cores == free
    return found


def test_each_job_starts_when_those_before_it_have_left_enough():
    assert told("1x4", [(110, 2), (130, 2)], [(3, 50), (1, 5), (4, 1)]) == [130, 130, 180]


def test_nothing_is_told_behind_a_job_that_may_last_for_ever_nor_where_none_ends():
    assert told("1x4", [(110, 4)], [(4, 0), (1, 5)]) == [110, None]
    assert told("1x4", [(0.0, 2), (110, 2)], [(3, 50), (1, 5)]) == [None, None]


def test_a_job_that_should_have_ended_long_ago_ends_now():
    assert told("1x4", [(90, 4)], [(1, 5)], now=100.0) == [100]


@settings(max_examples=examples(40))
@given(
    st.lists(st.tuples(st.integers(101, 120), st.integers(1, 4)), max_size=3),
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 20)), max_size=5),
)
def test_estimates_are_those_of_a_clock_that_is_turned_second_by_second(running, jobs):
    """One node only: there a number of free cores is all that matters. Sums of at most 12 of 12 cores run."""
    now, ends, expected = 100, [(end, cores) for end, cores in running], []
    for cores, duration in jobs:
        while sum(held for end, held in ends if end > now) + cores > 12:
            now += 1
        expected.append(now)
        ends.append((now + duration, cores))
    assert told("1x12", running, jobs) == expected


def test_whether_there_are_estimates_is_an_option_which_real_time_has_by_default():
    assert [forecast_option((), is_real=real) for real in (True, False)] == [True, False]
    assert forecast_option(("forecast=on",), is_real=False) and not forecast_option(
        ("forecast=off",), is_real=True
    )
    with pytest.raises(ValueError, match="not a forecast: 'maybe'; give on or off"):
        forecast_option(("forecast=maybe",), is_real=True)


async def forecasting(client, bits=0, *args):
    await client.call("module.remove", {"name": "sched"})
    await client.call("module.load", {"path": "sched", "args": list(args)})
    await set_bits(client, bits)


async def set_bits(client, bits, name="sched"):
    """By either of its names."""
    await client.call(f"{name}.debug", {"op": "set", "flags": bits})


def test_a_job_that_waits_shows_when_it_will_start_and_forgets_it_when_it_does():
    async def test(_instance, client):
        await forecasting(client, 0, "forecast=on")
        jobs = [await submit(client, jobspec(slots=4, duration=seconds)) for seconds in (20, 30, 0, 5)]
        await client.sleep(1)
        shown = [(await attributes(client, job)).get("annotations", {}).get("sched") for job in jobs]
        start = (await attributes(client, jobs[0]))["t_run"]
        await outcome(client, jobs[0])
        await client.sleep(1)
        running = (await attributes(client, jobs[1]))["annotations"]["sched"]
        later = (await attributes(client, jobs[2]))["annotations"]["sched"]
        return start, shown, running, later

    start, shown, running, later = in_instance(test)
    summary = {"resource_summary": "rank0/core[0-3]"}
    assert shown[0] == running == summary and shown[3] is None
    assert shown[1]["t_estimate"] == pytest.approx(start + 20, abs=0.1)
    assert shown[2]["t_estimate"] == pytest.approx(start + 50, abs=0.1)
    assert later["t_estimate"] == pytest.approx(start + 50, abs=0.2)


def test_an_estimate_is_sent_when_it_changes_and_not_again():
    async def test(_instance, client):
        await forecasting(client, 0, "forecast=on")
        answers = []
        for job in (1, 2):
            spec = jobspec(slots=4, duration=100)
            wish = {"id": job, "priority": 16, "userid": 0, "t_submit": 1.0, "jobspec": spec}
            client.stream("sched.alloc", wish, lambda response, _arg: answers.append(response.payload))
        await client.sleep(1)
        before = [answer["type"] for answer in answers]
        await client.call("sched.prioritize", {"jobs": [[2, 17]]})
        await client.sleep(1)
        assert [answer["type"] for answer in answers] == before == [0, 1]
        end = answers[0]["R"]["execution"]["expiration"]
        await client.call("sched.expiration", {"id": 1, "expiration": end + 50})
        await client.sleep(1)
        await client.call("sched.expiration", {"id": 1, "expiration": 0.0})
        await client.sleep(1)
        return end, [answer["annotations"]["sched"]["t_estimate"] for answer in answers[1:]]

    end, estimated = in_instance(test)
    assert estimated == [end, end + 50, None]


def test_with_a_bit_set_jobs_are_told_why_they_wait_and_how_many_are_before_them():
    async def test(_instance, client):
        await forecasting(client, REASON)
        jobs = [await submit(client, jobspec(slots=4, duration=20)) for _ in range(3)]
        await client.call("job-manager.memo", {"id": jobs[1], "memo": {"mine": 1}})
        await client.sleep(1)
        shown = [(await attributes(client, job))["annotations"] for job in jobs]
        await client.call("job-manager.raise", {"id": jobs[1], "type": "cancel", "severity": 0})
        await client.sleep(1)
        return shown, [(await attributes(client, job)).get("annotations") for job in jobs]

    shown, after = in_instance(test)
    why = {"reason_pending": "insufficient resources"}
    summary = {"sched": {"resource_summary": "rank0/core[0-3]"}}
    assert shown == [
        summary,
        {"user": {"mine": 1}, "sched": {**why, "jobs_ahead": 0}},
        {"sched": {**why, "jobs_ahead": 1}},
    ]
    assert after == [summary, None, {"sched": {**why, "jobs_ahead": 0}}]


def test_a_stopped_queue_takes_back_what_its_jobs_were_told_and_keeps_memos():
    async def test(_instance, client):
        await forecasting(client, REASON)
        jobs = [await submit(client, jobspec(slots=4, duration=20)) for _ in range(2)]
        await client.call("job-manager.memo", {"id": jobs[1], "memo": {"mine": 1}})
        await client.sleep(1)
        await client.call("job-manager.queue-start", {"start": False, "all": True})
        await client.sleep(1)
        return (await attributes(client, jobs[1]))["annotations"]

    assert in_instance(test) == {"user": {"mine": 1}}


def test_with_a_bit_set_no_job_gets_anything():
    async def test(_instance, client):
        await forecasting(client, FAIL_ALLOC)
        return (await outcome(client, await submit(client)))["errstr"]

    assert "DEBUG_FAIL_ALLOC" in in_instance(test)


def test_an_end_that_cannot_be_is_refused_and_with_a_bit_set_every_one():
    async def test(_instance, client):
        said = []
        for bits, wish in ((0, -1.0), (DENY_EXPIRATION, 5.0)):
            await set_bits(client, bits, "sched-simple")
            with pytest.raises(RequestError) as error:
                await client.call("sched.expiration", {"id": 1, "expiration": wish})
            said.append(error.value.errno)
        await set_bits(client, 0)
        await client.call("sched.expiration", {"id": 1, "expiration": 5.0})
        return said

    assert in_instance(test) == [errnums.EINVAL] * 2
