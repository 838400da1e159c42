"""Simulated jobs that begin and end when they are told to (``exec.test.override``), and what a job takes of input."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

from brokersim.brokermod import RequestError, errnums
from brokersim.protocol.jobspec import build
from modules.job_exec import JobExec
from modules.job_exec.plan import to_plan
from tests.modules.job_harness import in_instance, jobspec, log_of, names_of, outcome, real, submit


def told(**test):
    """A job that waits to be told."""
    return jobspec(duration=0, exec={"test": {"override": 1, **test}})


async def refusal(client, topic, payload):
    """(errnum, text) of a request that is refused."""
    with pytest.raises(RequestError) as caught:
        await client.call(topic, payload)
    return caught.value.errno, str(caught.value)


async def say(client, job, event, **more):
    await client.call("job-exec.override", {"jobid": job, "event": event, **more})


def test_a_job_begins_and_ends_when_it_is_told_to():
    async def test(_instance, client):
        job = await submit(client, told())
        await client.sleep(50.0)
        early = await refusal(client, "job-exec.override", {"jobid": job, "event": "finish"})
        before = (await client.call("job-list.list-id", {"id": job, "attrs": ["t_run", "state"]}))["job"]
        await say(client, job, "start")
        await client.sleep(50.0)
        late = await refusal(client, "job-exec.override", {"jobid": job, "event": "start"})
        odd = await refusal(client, "job-exec.override", {"jobid": job, "event": "foo"})
        await say(client, job, "finish", status=256)
        answer = await outcome(client, job)
        names = await names_of(client, job)
        return early, late, odd, before["state"], answer["status"], names

    early, late, odd, state, status, names = in_instance(test)
    assert early == (errnums.EINVAL, "Job not running")
    assert late == (errnums.EINVAL, "Job already running")
    assert odd == (errnums.EINVAL, "Invalid event")
    assert (state, status) == (16, 256)
    assert names[-6:] == ["alloc", "start", "finish", "release", "free", "clean"]


def test_a_run_duration_ends_it_once_it_has_begun():
    async def test(_instance, client):
        job = await submit(client, told(run_duration="2s"))
        await client.sleep(50.0)
        await say(client, job, "start")
        await outcome(client, job)
        log = {event["name"]: event["timestamp"] for event in await log_of(client, job)}
        return log["finish"] - log["start"]

    assert 2.0 <= in_instance(test) < 2.1


@pytest.mark.parametrize("test_keys", [{"run_duration": "0"}, {"run_duration": "0."}, {}])
def test_a_run_duration_or_a_limit_of_0_is_until_it_is_ended(test_keys):
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=0, exec={"test": test_keys}))
        await client.sleep(1e6)
        before = (await client.call("job-list.list-id", {"id": job, "attrs": ["state"]}))["job"]
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return before["state"], (await outcome(client, job))["status"]

    assert in_instance(test) == (16, 15)


def test_one_without_any_time_is_over_at_once():
    async def test(_instance, client):
        spec = jobspec(exec={"test": {}})
        del spec["attributes"]["system"]["duration"]
        jobs = [await submit(client, spec), await submit(client, build(["true"], run_time=0.0))]
        return [await time_run(client, job) < 0.1 for job in jobs]

    assert in_instance(test) == [True, True]


async def time_run(client, job):
    await outcome(client, job)
    log = {event["name"]: event["timestamp"] for event in await log_of(client, job)}
    return log["finish"] - log["start"]


def test_a_run_duration_that_is_a_number_ends_it_as_in_flux():
    async def test(_instance, client):
        return await outcome(client, await submit(client, jobspec(exec={"test": {"run_duration": 0.01}})))

    assert "run_duration must be a duration with its unit, not 0.01" in in_instance(test)["errstr"]


@pytest.mark.parametrize(
    ("given", "status"), [(11, 35584), (0x0300, 0x0300), (0, 0), (-1, 15), (0x10000 + 256, 256)]
)
def test_the_wait_status_of_an_exception_is_the_jobs(given, status):
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=0, exec={"test": {"run_duration": "30s"}}))
        await client.sleep(1.0)
        wish = {"id": job, "type": "test", "severity": 0, "wait_status": given}
        await client.call("job-manager.raise", wish)
        await client.call("job-manager.raise", {**wish, "wait_status": 512})
        return await status_of(client, job)

    assert in_instance(test) == status


def test_a_command_that_ends_well_when_its_job_is_cancelled_has_failed():
    async def test(_instance, client):
        spec = real("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done")
        job = await submit(client, spec)
        await client.occurrence(partial(once_it_says, client, job))
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return (await status_of(client, job)), await outcome(client, job)

    status, answer = in_instance(test, clock="real")
    assert status == 256
    assert answer["errstr"].startswith("Fatal exception type=cancel")


def once_it_says(client, job, done):
    def answered(response, _arg):
        if not response.errnum and '"data"' in response.payload["event"]:
            done(None)

    client.stream("job-info.eventlog-watch", {"id": job, "path": "guest.output", "flags": 1}, answered)


async def status_of(client, job):
    await outcome(client, job)
    (finish,) = (event for event in await log_of(client, job) if event["name"] == "finish")
    return finish["context"]["status"]


def test_one_that_was_never_told_can_be_cancelled():
    async def test(_instance, client):
        job = await submit(client, told())
        await client.sleep(1.0)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        return await names_of(client, job)

    names = in_instance(test)
    assert "start" not in names and names[-1] == "clean"


def test_no_other_job_and_nobody_elses_is_told_anything():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=10.0))
        await client.sleep(1.0)
        plain = await refusal(client, "job-exec.override", {"jobid": job, "event": "start"})
        unknown = await refusal(client, "job-exec.override", {"jobid": 1234, "event": "start"})
        nothing = await refusal(client, "job-exec.override", {})
        wish = {"id": job, "ranks": "foo"}
        ranks = await refusal(client, "job-exec.critical-ranks", wish)
        nobody = await refusal(client, "job-exec.critical-ranks", {**wish, "id": 1234})
        await client.call("job-exec.critical-ranks", {"id": job, "ranks": "0-1"})
        return plain, unknown, nothing[0], ranks[0], nobody[0]

    assert in_instance(test) == (
        (errnums.EINVAL, "Job not in exec override mode"),
        (errnums.ENOENT, "Job not found"),
        errnums.EPROTO,
        errnums.EINVAL,
        errnums.ENOENT,
    )


@pytest.mark.parametrize(
    ("size", "status", "says"),
    [(512, 0, ""), (513, 1 << 8, "stdin exceeds 1K limit. Try file input (flux submit --input=FILE)")],
)
def test_more_input_than_a_job_takes_ends_it(size, status, says):
    async def test(_instance, client):
        job = await submit(client, real("cat", shell={"options": {"input": {"limit": "1K"}}}))
        while "shell.start" not in await exec_names(client, job):
            await client.sleep(0.01)
        answer = await client.call(
            "job-info.lookup", {"id": job, "keys": ["guest.exec.eventlog"], "flags": 0}
        )
        service = answer["guest.exec.eventlog"].split('"service":"')[1].split('"')[0]
        piece = {"stream": "stdin", "rank": "all", "data": "x" * size}
        await client.call(f"{service}.stdin", piece)
        await client.call(f"{service}.stdin", piece)
        if not status:
            await client.call(f"{service}.stdin", {"stream": "stdin", "rank": "all", "eof": True})
        result = await outcome(client, job)
        raised = [event["context"] for event in await log_of(client, job) if event["name"] == "exception"]
        return result["status"], "".join(one["note"] for one in raised)

    ended, note = in_instance(test, clock="real")
    assert ended == status
    assert note.startswith(says) and bool(note) == bool(says)


async def exec_names(client, job):
    try:
        answer = await client.call(
            "job-info.lookup", {"id": job, "keys": ["guest.exec.eventlog"], "flags": 0}
        )
    except RequestError:
        return ""
    return answer["guest.exec.eventlog"]


@pytest.mark.parametrize(
    ("option", "limit"), [({}, 10 << 20), ({"limit": "32M"}, 32 << 20), ({"limit": 1024}, 1024)]
)
def test_a_limit_of_input_is_bytes_or_a_text(option, limit):
    assert to_plan(real("cat", shell={"options": {"input": option}})).stdin_limit == limit


@pytest.mark.parametrize(
    "option",
    [{"limit": one} for one in ("foo", "0", 0, -1, "33M", "1G", 34603008)] + [{"batch-timeout": "foo"}],
)
def test_a_limit_that_is_none_is_refused(option):
    with pytest.raises(ValueError, match=r"input\."):
        to_plan(real("cat", shell={"options": {"input": option}}))


def test_a_job_is_begun_and_ended_by_its_user_only():
    there = SimpleNamespace(_runs={1: SimpleNamespace(userid=8)})
    with pytest.raises(RequestError) as caught:
        JobExec._own_run(there, SimpleNamespace(userid=7), 1)
    assert caught.value.errno == errnums.EPERM
    assert JobExec._own_run(there, SimpleNamespace(userid=8), 1) is there._runs[1]
