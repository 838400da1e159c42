"""Modules that come and go under jobs, and instances that come back to theirs."""

from __future__ import annotations

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, jobid, treeobj
from tests.modules.job_harness import JOB_MODULES, attributes, in_instance, jobspec, names_of, outcome, submit


def test_a_reloaded_execution_service_runs_what_waited_for_it():
    async def test(instance, client):
        await instance.remove("job-exec")
        job = await submit(client)
        await instance.sleep(5)
        state = (await attributes(client, job))["state"]
        await instance.load("job-exec")
        return state, (await outcome(client, job))["success"]

    assert in_instance(test) == (16, True)


def test_a_reloaded_job_manager_knows_its_jobs_and_takes_new_ones():
    async def test(instance, client):
        done = await submit(client)
        await outcome(client, done)
        runs = await submit(client, jobspec(slots=4, duration=1000))
        waits = await submit(client, jobspec(slots=4, duration=1))
        await instance.sleep(1)
        await instance.remove("job-manager")
        await instance.load("job-manager")
        new = await submit(client)
        answers = [await outcome(client, job) for job in (done, runs, waits, new)]
        stats = await client.call("job-manager.stats-get")
        return (
            answers,
            new > waits,
            stats["submitted"],
            stats["states"]["INACTIVE"],
            await names_of(client, waits),
        )

    answers, grows, submitted, inactive, names = in_instance(test)
    assert [answer["success"] for answer in answers] == [True, False, True, True]
    assert "ended while the job ran" in answers[1]["errstr"]
    assert (grows, submitted, inactive) == (True, 4, 4)
    assert names[:6] == ["submit", "validate", "depend", "priority", "flux-restart", "priority"]


def test_an_instance_with_a_state_directory_comes_back_to_its_jobs(tmp_path):
    async def life(test):
        async with open_instance(modules=JOB_MODULES, state_dir=tmp_path) as instance:
            client = instance.client()
            try:
                return await test(instance, client)
            finally:
                client.close()

    async def first(_instance, client):
        jobs = [
            await submit(client, jobspec("echo", duration=1, exec={"test": {"wait_status": 256 * n}}))
            for n in (0, 3)
        ]
        for job in jobs:
            await outcome(client, job)
        return jobs, [await attributes(client, job) for job in jobs]

    jobs, before = run(life, first)

    async def second(_instance, client):
        shown = [await attributes(client, job) for job in jobs]
        new = await submit(client)
        await outcome(client, new)
        return shown, new, await names_of(client, jobs[0])

    after, new, names = run(life, second)
    assert after == before
    assert new > max(jobs)
    assert names[-1] == "clean"


def test_events_wait_for_a_kvs_that_is_away_and_none_is_lost():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=10))
        await instance.sleep(1)
        await client.call("kvs.lookup", {"key": ".", "namespace": "primary", "flags": 1})
        await instance.remove("kvs")
        await client.call("job-manager.raise", {"id": job, "type": "remark", "severity": 1})
        await instance.sleep(3)
        pending = instance.module(0, "job-manager").handle.body._machine.batch
        return len(pending)

    assert in_instance(test) == 1


@pytest.mark.parametrize("module", ["job-manager", "job-exec"])
def test_a_bad_argument_fails_the_load_with_one_clear_line(module):
    async def test(instance, _client):
        await instance.remove(module)
        with pytest.raises(OSError, match=f"module '{module}': unknown argument 'colour=red'"):
            await instance.load(module, "colour=red")

    in_instance(test)


def test_a_record_that_nests_too_deep_to_be_read_ends_neither_who_is_asked_for_it_nor_a_restart():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=1000))
        await instance.sleep(0.1)
        deep = treeobj.val(b"[" * 5000 + b"]" * 5000)
        ops = [
            {"key": f"{jobid.job_kvspath(job)}.{key}", "flags": 0, "dirent": deep} for key in ("R", "jobspec")
        ]
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
        with pytest.raises(RequestError, match="R is not JSON"):
            await client.call("job-info.lookup", {"id": job, "keys": ["R"], "flags": 1})
        await instance.remove("job-manager")
        await instance.load("job-manager")
        return [line for line in instance.broker(0).log.lines() if "is not restored" in line]

    assert len(in_instance(test)) == 1
