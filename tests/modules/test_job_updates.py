"""Updates of a job's queue and duration: who is asked, who follows, what is refused."""

from __future__ import annotations

import msgspec
import pytest

from brokersim.brokermod import RequestError, errnums, treeobj
from tests.modules.job_harness import attributes, in_instance, jobspec, names_of, outcome, submit

DURATION, QUEUE = "attributes.system.duration", "attributes.system.queue"
CONF = {
    "queues": {
        "batch": {"requires": ["large"], "policy": {"limits": {"duration": "1h"}}},
        "debug": {"requires": ["small"], "policy": {"limits": {"duration": "1m"}}},
        "closed": {},
        "other": {},
    },
}
R = {
    "version": 1,
    "execution": {
        "R_lite": [{"rank": "0-1", "children": {"core": "0-1"}}],
        "nodelist": ["a,b"],
        "properties": {"large": "0", "small": "1"},
    },
}


async def update(client, job, **updates):
    await client.call("job-manager.update", {"id": job, "updates": updates})


async def refused(call):
    with pytest.raises(RequestError) as error:
        await call
    return error.value.errno, error.value.text


def in_queues(test):
    async def prepared(instance, client):
        put = {"key": "resource.R", "flags": 0, "dirent": treeobj.val(msgspec.json.encode(R))}
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
        await client.call("config.load", CONF)
        for name in ("sched", "resource"):
            await client.call("module.remove", {"name": name})
        for name in ("resource", "sched"):
            await client.call("module.load", {"path": name, "args": []})
        await client.call("job-manager.queue-start", {"start": True, "all": True})
        no = {"enable": False, "reason": "noon", "name": "closed", "all": False}
        await client.call("job-manager.queue-enable", no)
        return await test(client)

    return in_instance(prepared, size=2)


def held(client, queue, **system):
    return submit(client, jobspec(queue=queue, **{"duration": 60, **system}), urgency=0)


def test_a_job_in_another_queue_has_its_constraint_and_runs_on_its_nodes():
    async def test(client):
        job = await held(client, "batch")
        await update(client, job, **{QUEUE: "debug"})
        jobspec = (await client.call("job-manager.getattr", {"id": job, "attrs": ["jobspec"]}))["jobspec"]
        await client.call("job-manager.urgency", {"id": job, "urgency": 16})
        await outcome(client, job)
        shown = await attributes(client, job)
        return jobspec["attributes"]["system"]["constraints"], shown["queue"], shown["ranks"]

    assert in_queues(test) == ({"properties": ["small"]}, "debug", "1")


def test_a_job_goes_to_a_queue_without_constraint_and_back():
    async def test(client):
        job = await held(client, "debug")
        found = []
        for queue in ("other", "batch"):
            await update(client, job, **{QUEUE: queue})
            answer = await client.call("job-manager.getattr", {"id": job, "attrs": ["jobspec"]})
            found.append(answer["jobspec"]["attributes"]["system"]["constraints"])
        return found

    assert in_queues(test) == [{}, {"properties": ["large"]}]


def test_what_a_queue_does_not_allow_is_refused_and_nothing_is_changed():
    async def test(client):
        job = await held(client, "batch", duration=3600)
        own = await held(client, "batch", constraints={"hostlist": ["a"]})
        both = await submit(client, jobspec(nodes=1, slots=2, queue="other", duration=60))
        wide = await submit(client, jobspec(nodes=2, queue="other", duration=60), urgency=0)
        await client.sleep(0.5)
        said = [
            await refused(update(client, job, **{QUEUE: queue}))
            for queue in ("nosuch", "batch", "closed", 42, "debug")
        ]
        said.append(await refused(update(client, own, **{QUEUE: "other"})))
        said.append(await refused(update(client, both, **{QUEUE: "debug"})))
        said.append(await refused(update(client, wide, **{QUEUE: "debug"})))
        said.append(await refused(update(client, job, **{QUEUE: "debug", DURATION: "long"})))
        log = await client.call("job-manager.getattr", {"id": job, "attrs": ["eventlog"]})
        return said, [event["name"] for event in log["eventlog"]]

    said, names = in_queues(test)
    assert {errno for errno, _ in said} == {errnums.EINVAL}
    assert [text for _, text in said] == [
        "'nosuch' is not a valid queue",
        "job queue is already set to batch",
        "queue closed is currently disabled",
        "a queue is named by a text, not 42",
        "requested duration (1h) exceeds policy limit of 1m for queue debug",
        "job appears to have non-queue constraints, unable to update queue to other",
        "update of queue for running job not supported",
        "unsatisfiable request: 2 nodes asked, 1 there that match the constraint",
        "duration must be a number of seconds, 0 or more, not 'long'",
    ]
    assert "jobspec-update" not in names


def test_queue_and_duration_are_updated_together_where_either_alone_would_be_refused():
    async def test(client):
        job = await held(client, "batch", duration=3600)
        await update(client, job, **{QUEUE: "debug", DURATION: 60.0})
        return (await attributes(client, job))["duration"]

    assert in_queues(test) == 60.0


def test_without_its_plugin_no_queue_is_updated():
    async def test(client):
        job, name = await held(client, "batch"), ".update-queue"
        wish = {QUEUE: "other"}
        listed = [await client.call("job-manager.jobtap", {"query_only": True})]
        await client.call("job-manager.jobtap", {"remove": name})
        listed.append(await client.call("job-manager.jobtap", {"query_only": True}))
        said = await refused(update(client, job, **wish))
        setting = await refused(client.call("job-manager.jobtap", {"load": name, "conf": {"x": 1}}))
        await client.call("job-manager.jobtap", {"load": name})
        await update(client, job, **wish)
        return [name in one["plugins"] for one in listed], said, setting

    assert in_queues(test) == (
        [True, False],
        (errnums.EINVAL, f"update of {QUEUE} not supported"),
        (errnums.EINVAL, "plugin '.update-queue' has no settings"),
    )


def test_what_is_built_in_is_listed_and_told_of_and_what_is_a_part_of_the_module_stays():
    async def test(client):
        listed = (await client.call("job-manager.jobtap", {"query_only": True}))["plugins"]
        told = [await client.call("job-manager.jobtap-query", {"name": name}) for name in listed]
        said = [
            await refused(client.call("job-manager.jobtap", {what: ".limit-duration"}))
            for what in ("load", "remove")
        ]
        await client.call("job-manager.jobtap", {"remove": "all"})
        return listed, told, said, (await client.call("job-manager.jobtap", {"query_only": True}))["plugins"]

    listed, told, said, left = in_queues(test)
    assert (len(listed), left) == (11, listed)
    assert told == [{"name": name, "path": "builtin"} for name in listed]
    assert (
        said
        == [(errnums.ENOTSUP, "plugin '.limit-duration' is a part of job-manager here: it stays as it is")]
        * 2
    )


def test_the_scheduler_is_asked_anew_for_a_job_that_waits_and_gives_it_the_new_duration():
    async def test(_instance, client):
        first, job = [await submit(client, jobspec(slots=4, duration=10)) for _ in range(2)]
        await client.sleep(0.5)
        await update(client, job, **{DURATION: 77.0})
        await outcome(client, first)
        await client.sleep(0.5)
        r = (await client.call("job-manager.getattr", {"id": job, "attrs": ["R"]}))["R"]["execution"]
        return (await client.call("job-manager.getattr", {"id": job, "attrs": ["eventlog"]}))["eventlog"], r

    events, r = in_instance(test)
    assert [event["name"] for event in events][3:8] == [
        "priority",
        "jobspec-update",
        "priority",
        "alloc",
        "start",
    ]
    assert r["expiration"] - r["starttime"] == 77.0


def test_the_same_urgency_again_is_no_new_priority():
    async def test(_instance, client):
        await submit(client, jobspec(slots=4, duration=10))
        job = await submit(client, jobspec(slots=4, duration=1))
        await client.sleep(0.5)
        for urgency in (16, 20):
            await client.call("job-manager.urgency", {"id": job, "urgency": urgency})
        return (await names_of(client, job))[3:7]

    assert in_instance(test) == ["priority", "urgency", "urgency", "priority"]


@pytest.mark.parametrize(("duration", "status", "after"), [(3.0, 9, 3.0), (0.0, 0, 20.0), (60.0, 0, 20.0)])
def test_a_running_job_has_as_long_as_it_is_given(duration, status, after):
    async def test(_instance, client):
        spec = jobspec(duration=10, exec={"test": {"run_duration": "20s"}})
        job = await submit(client, spec)
        await client.sleep(1)
        await update(client, job, **{DURATION: duration})
        ended = await outcome(client, job)
        shown = await attributes(client, job)
        return ended["success"], shown["t_cleanup"] - shown["t_run"]

    success, lasted = in_instance(test)
    assert success == (status == 0) and lasted == pytest.approx(after, abs=0.5)


def test_a_limit_that_comes_before_the_job_runs_counts_as_well():
    """Between start and the first step of its shell, which is asleep for 10 ms."""

    async def test(_instance, client):
        job = await submit(client, jobspec(duration=10, exec={"test": {"run_duration": "20s"}}))
        while not (shown := await attributes(client, job)).get("t_run"):
            await client.sleep(0.001)
        await client.sleep(0.002)
        await update(client, job, **{DURATION: 5.0})
        await outcome(client, job)
        return (await attributes(client, job))["t_cleanup"] - shown["t_run"]

    assert in_instance(test) == pytest.approx(5.0, abs=0.1)


def test_a_simulated_job_without_a_run_time_of_its_own_lasts_as_before():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=10))
        await client.sleep(1)
        await update(client, job, **{DURATION: 3.0})
        return (await outcome(client, job))["success"]

    assert in_instance(test)


def test_a_refusal_of_the_scheduler_or_of_who_runs_the_job_is_told():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=100))
        await client.sleep(1)
        await client.call("sched.debug", {"op": "set", "flags": 4})
        said = await refused(update(client, job, **{DURATION: 50.0}))
        await client.call("sched.debug", {"op": "set", "flags": 0})
        await client.call("job-exec.debug", {"op": "set", "flags": 1})
        await update(client, job, **{DURATION: 50.0})
        await client.sleep(0.1)
        events = (await client.call("job-manager.getattr", {"id": job, "attrs": ["eventlog"]}))["eventlog"]
        context = events[-1]["context"]
        return said, events[-1]["name"], context["type"], context["severity"]

    assert in_instance(test) == (
        (errnums.EINVAL, "scheduler refused expiration update"),
        "exception",
        "exec",
        1,
    )
