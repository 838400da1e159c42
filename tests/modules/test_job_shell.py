"""The job's shell as others see it: a command that rexec runs, and a party of its own in the counts."""

from __future__ import annotations

import pytest

from brokersim.brokermod import errnums
from tests.modules.job_harness import in_instance, jobspec, names_of, outcome, submit


def running(seconds="100s"):
    return jobspec(duration=0, exec={"test": {"run_duration": seconds}})


async def shells(client):
    """Numbers of the shells that rexec lists."""
    answer = await client.call("rexec.list")
    return [proc["pid"] for proc in answer["procs"] if proc["cmd"] == "flux-shell"]


def test_a_running_jobs_shell_is_listed_by_rexec_until_the_job_has_ended():
    async def test(instance, client):
        before = await shells(client)
        job = await submit(client, running())
        await instance.sleep(1)
        during = await shells(client)
        await outcome(client, job)
        return before, during, await shells(client)

    before, during, after = in_instance(test)
    assert (before, len(during), after) == ([], 1, [])
    assert during[0] > 1 << 22, "no number that a process of this machine may have"


def test_who_signals_a_shell_signals_its_job():
    async def test(instance, client):
        job = await submit(client, running())
        await instance.sleep(1)
        [pid] = await shells(client)
        await client.call("rexec.kill", {"pid": pid, "signum": 15})
        return await outcome(client, job)

    assert in_instance(test)["status"] == 15


@pytest.mark.parametrize("words", [[], ["7"], ["x"], ["1", "2"]])
def test_a_shell_is_begun_for_a_job_under_execution_only(words):
    async def test(_instance, client):
        cmd = {"cmdline": ["flux-shell", *words], "env": {}, "opts": {}, "channels": []}
        heard = []
        client.stream(
            "rexec.exec", {"cmd": cmd, "flags": 3}, lambda response, _: heard.append(response.errnum)
        )
        await client.sleep(1)
        return heard, await shells(client)

    assert in_instance(test) == ([errnums.ENOENT], [])


def test_what_a_shell_sends_does_not_count_as_the_execution_systems_and_all_it_asked_hear_that_it_went():
    async def test(_instance, client):
        await outcome(client, await submit(client, jobspec()))  # the first also finds where topics lead
        heard = []
        wish = {
            "names": ["job-exec", "job-info", "kvs", "resource"],
            "typemask": 1,
            "topic_glob": "*",
            "full": False,
        }
        client.stream("module.trace", wish, lambda response, _: heard.append(response.payload))
        await outcome(client, await submit(client, jobspec()))
        sent = {one["topic"] for one in heard if (one["name"], one["prefix"]) == ("job-exec", "tx")}
        gone = {one["topic"] for one in heard if one["topic"].endswith(".disconnect")}
        return sent, gone

    sent, gone = in_instance(test)
    assert sent == {"kvs.namespace-create", "kvs.commit", "rexec.exec", "kvs.lookup", "kvs.namespace-remove"}
    assert gone == {"job-info.disconnect", "kvs.disconnect", "resource.disconnect"}


def test_an_execution_system_that_is_unloaded_leaves_no_shell_behind():
    async def test(instance, client):
        await submit(client, running())
        await instance.sleep(1)
        before = await shells(client)
        await client.call("module.remove", {"name": "job-exec"})
        names = [one.name for one in instance.all_endpoints()]
        return len(before), await shells(client), names.count("shell")

    assert in_instance(test) == (1, [], 0)


def test_a_shell_that_cannot_be_started_fails_its_job_and_its_resources_are_free_again():
    async def test(instance, client):
        del instance.broker(0)._programs["flux-shell"]
        job = await submit(client, jobspec())
        answer = await outcome(client, job)
        return answer["success"], (await names_of(client, job))[-3:], answer["errstr"]

    success, last, text = in_instance(test)
    assert (success, last) == (False, ["release", "free", "clean"])
    assert "flux-shell" in text or "No such file" in text
