"""Modules that come and go under jobs, and instances that come back to theirs."""

from __future__ import annotations

import msgspec
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


def test_a_job_whose_execution_service_went_waits_for_the_next_which_ends_it_and_puts_its_records_away():
    """As in Flux: it does not take over what runs, and says so. Before, the namespace was left, and who watched it."""

    async def test(instance, client):
        job = await submit(client, jobspec(duration=1000))
        await instance.sleep(1)
        await instance.remove("job-exec")
        await instance.sleep(1)
        state = (await attributes(client, job))["state"]
        await instance.load("job-exec")
        names, guest = await names_of(client, job), await names_of(client, job, "guest.exec.eventlog")
        spaces = (await client.call("kvs.namespace-list"))["namespaces"]
        answer, again = await outcome(client, job), await outcome(client, await submit(client))
        return state, names, guest, [one["namespace"] for one in spaces], answer["errstr"], again["success"]

    state, names, guest, spaces, text, again = in_instance(test)
    assert (state, spaces, again) == (16, ["primary"], True)
    assert names[-6:] == ["alloc", "start", "exception", "release", "free", "clean"]
    assert guest == ["init", "starting", "shell.init", "shell.start", "reattach", "done"]
    assert "reattach to running job is not implemented: Function not implemented" in text


OTHER = """
from brokersim.brokermod import BrokerModule, request_handler

class Other(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        h.request("job-manager.exec-hello", {"service": self.name})

    @request_handler("start")
    def start(self, msg):
        def say(kind, **data):
            self.handle.respond(msg, {"id": msg.payload["id"], "type": kind, "data": data})

        say("reattached" if msg.payload["reattach"] else "start")
        if msg.payload["reattach"]:
            say("finish", status=0)
            say("release", ranks="all", final=True)
"""


def test_who_executes_jobs_and_goes_is_told_of_in_the_log_of_one_with_flag_debug_and_the_next_may_take_it_over(
    tmp_path,
):
    (tmp_path / "other.py").write_text(OTHER)

    async def test(instance, client):
        await instance.remove("job-exec")
        await instance.load(f"{tmp_path}/other.py")
        job = await submit(client, jobspec(), flags=2)
        await instance.sleep(1)
        await instance.remove("other")
        waiting = await submit(client, jobspec(), flags=2)
        await instance.sleep(1)
        look = {"id": waiting, "keys": ["eventlog"], "flags": 0}
        log = (await client.call("job-info.lookup", look))["eventlog"]
        await instance.load(f"{tmp_path}/other.py")
        return await names_of(client, job), log.splitlines()[-1]

    names, last = in_instance(test)
    assert names[6:] == [
        "debug.start-request", "start", "debug.start-lost", "debug.start-request", "debug.exec-reattach-finish",
        "finish", "release", "free", "clean",
    ]  # fmt: skip
    assert '"alloc"' in last  # nobody is asked while nobody executes


def test_nobody_is_asked_to_start_a_job_once_who_did_so_has_gone_and_a_client_that_goes_is_not_who_did():
    async def test(instance, client):
        debug = {"flags": 2}
        another = instance.client()
        ran = await submit(another, jobspec(duration=1), **debug)
        await instance.sleep(0.1)
        await another.call("job-manager.stats-get")
        another.close()
        fine = await outcome(client, ran), await names_of(client, ran)
        assert (await outcome(client, await submit(client)))["success"]  # who starts jobs is still known
        await instance.remove("job-exec")
        job = await submit(client, jobspec(), **debug)
        await instance.sleep(1)
        look = {"id": job, "keys": ["eventlog"], "flags": 0}
        return fine, (await client.call("job-info.lookup", look))["eventlog"].splitlines()[-1]

    (answer, names), last = in_instance(test)
    assert answer["success"] and "debug.start-lost" not in names
    assert '"alloc"' in last


def test_a_job_that_was_being_ended_as_its_execution_service_went_ends_all_the_same():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=1000, exec={"test": {"run_duration": "1000s"}}))
        await instance.sleep(1)
        raised = client.call("job-manager.raise", {"id": job, "severity": 0, "type": "cancel", "note": ""})
        removed = client.call("module.remove", {"name": "job-exec"})
        await raised
        await removed
        answer = await outcome(client, job)
        return answer["success"], (await names_of(client, job))[-2:]

    assert in_instance(test) == (False, ["free", "clean"])


def test_a_job_whose_records_were_put_away_before_its_service_went_keeps_them():
    """The namespace is gone, and the copy is all there is: a service that takes over must not write an empty one."""

    async def test(instance, client):
        job = await submit(client)
        await outcome(client, job)
        before = await names_of(client, job, "guest.exec.eventlog")
        spec = (await client.call("job-info.lookup", {"id": job, "keys": ["jobspec"], "flags": 0}))["jobspec"]
        record = (await client.call("job-info.lookup", {"id": job, "keys": ["R"], "flags": 0}))["R"]
        order = {
            "id": job, "userid": 0, "jobspec": msgspec.json.decode(spec), "R": msgspec.json.decode(record),
            "reattach": True,
        }  # fmt: skip
        answers = []

        def start(done):
            def answered(response, _):
                answers.append(response.payload["type"])
                if answers[-1] == "release":
                    done(None)

            client.stream("job-exec.start", order, answered)

        await client.occurrence(start)
        return answers, await names_of(client, job, "guest.exec.eventlog") == before

    assert in_instance(test) == (["exception", "release"], True)


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
