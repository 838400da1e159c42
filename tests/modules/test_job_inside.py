"""What is run inside a job on the ranks it has: beside its tasks, and no longer than they."""

from __future__ import annotations

import signal

from brokersim.brokermod import errnums
from tests.modules.job_harness import in_instance, log_of, outcome, real, stream, submit

EXEC = {
    "cmd": {"cmdline": ["sh", "-c", "echo $FLUX_URI; exit 3"], "env": {}, "opts": {}, "channels": []},
    "flags": 1,
}
SLEEP = {"cmd": {"cmdline": ["sleep", "100"], "env": {}, "opts": {}, "channels": []}, "flags": 1}
TWO_NODES = {"size": 2, "resources": "2x2", "clock": "real"}


async def begun(client, job):
    """The service of a job's shell, once its tasks run."""

    def follow(done):
        found = []

        def told(response, _):
            if response.errnum:
                return
            event = response.payload["event"]
            if "shell.init" in event:
                found.append(event.split('"service":"')[1].split('"')[0])
            if "shell.start" in event:
                done(found[0])

        client.stream("job-info.eventlog-watch", {"id": job, "path": "guest.exec.eventlog", "flags": 0}, told)

    return await client.occurrence(follow)


def test_a_command_runs_inside_a_job_on_a_rank_the_job_has_and_on_no_other():
    async def test(instance, client):
        job = await submit(client, real("sleep", "100", constraints={"ranks": ["1"]}))
        service = await begun(client, job)
        there = instance.client(1)
        answers, errnum = await stream(there, f"{service}.rexec.exec", EXEC)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        gone = await stream(there, f"{service}.rexec.exec", EXEC)
        there.close()
        return [one["status"] for one in answers if one["type"] == "finished"], errnum, gone

    assert in_instance(test, **TWO_NODES) == ([3 << 8], errnums.ENODATA, ([], errnums.ENOSYS))


def test_what_runs_inside_a_job_on_another_rank_ends_with_the_jobs_tasks():
    async def test(instance, client):
        job = await submit(client, real("sleep", "0.3", constraints={"ranks": ["1"]}))
        service = await begun(client, job)
        there = instance.client(1)
        answers, errnum = await stream(there, f"{service}.rexec.exec", SLEEP)
        there.close()
        return answers[-1], errnum, (await log_of(client, job))[-1]["name"]

    last, errnum, end = in_instance(test, **TWO_NODES)
    assert (last, errnum, end) == ({"type": "finished", "status": signal.SIGTERM}, errnums.ENODATA, "clean")


def test_a_task_finds_the_broker_of_its_own_node_and_its_number_there():
    async def test(instance, client):
        for rank in range(2):
            instance.broker(rank).attributes.fix("local-uri", f"local:///rank-{rank}")
        show = "echo $FLUX_TASK_RANK $FLUX_TASK_LOCAL_ID $FLUX_URI $BROKERSIM_URI"
        spec = real("sh", "-c", show)
        spec["resources"] = [{"type": "node", "count": 2, "with": [
            {"type": "slot", "count": 2, "label": "task", "with": [{"type": "core", "count": 1}]}]}]  # fmt: skip
        job = await submit(client, spec)
        await outcome(client, job)
        log = await log_of(client, job, "guest.output")
        return sorted(event["context"]["data"] for event in log if "data" in event["context"])

    assert in_instance(test, size=2, resources="2x2", clock="real") == [
        f"{task} {task % 2} local:///rank-{task // 2} local:///rank-{task // 2}\n" for task in range(4)
    ]
