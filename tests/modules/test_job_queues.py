"""Named queues, defaults and limits of a configuration (RFC 33): who gets in, who runs, what is kept."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError, errnums
from brokersim.protocol.job_facts import check_jobspec
from brokersim.protocol.policy import to_rules
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, submit

TWO = {"queues": {"batch": {}, "debug": {}}}
STATUS = "job-manager.queue-status"


async def refused(call):
    with pytest.raises(RequestError) as error:
        await call
    return error.value.errno, error.value.text


def test_jobs_go_to_configured_queues_only_and_run_when_theirs_is_started():
    async def test(_instance, client):
        without = await refused(submit(client, jobspec(queue="batch")))
        await client.call("config.load", TWO)
        nowhere = await refused(submit(client))
        unknown = await refused(submit(client, jobspec(queue="foo")))
        jobs = [await submit(client, jobspec(queue=name)) for name in ("batch", "debug")]
        await client.sleep(1)
        waiting = [(await attributes(client, job))["state"] for job in jobs]
        await client.call("job-manager.queue-start", {"start": True, "name": "debug", "all": False})
        await outcome(client, jobs[1])
        stats = await client.call("job-list.job-stats")
        counts = {one["name"]: one["job_states"]["inactive"] for one in stats["queues"]}
        return without, nowhere, unknown, waiting, (await attributes(client, jobs[0]))["state"], counts

    without, nowhere, unknown, waiting, left, counts = in_instance(test)
    assert without == (errnums.EINVAL, "'batch' is not a valid queue")
    assert nowhere == (errnums.EINVAL, "a named queue is required")
    assert unknown == (errnums.EINVAL, "Invalid queue 'foo' specified")
    assert (waiting, left, counts) == ([8, 8], 8, {"batch": 0, "debug": 1})


def test_requests_about_queues_name_one_or_say_all():
    async def test(_instance, client):
        closed = {"enable": False, "reason": "noon", "all": True}
        anonymous = await client.call("job-manager.queue-list")
        await client.call("config.load", TWO)
        some = await refused(client.call("job-manager.queue-enable", {**closed, "all": False}))
        bare = await refused(client.call("job-manager.queue-enable", {"enable": False, "all": True}))
        wrong = await refused(client.call(STATUS, {"name": "foo"}))
        await client.call("job-manager.queue-enable", closed)
        await client.call("job-manager.queue-enable", {"enable": True, "name": "debug", "all": False})
        shown = [await client.call(STATUS, {"name": name}) for name in ("batch", "debug")]
        listed = await client.call("job-manager.queue-list")
        return (
            anonymous,
            listed,
            some,
            bare,
            wrong,
            shown,
            await refused(submit(client, jobspec(queue="batch"))),
        )

    anonymous, listed, some, bare, wrong, shown, disabled = in_instance(test)
    assert (anonymous, listed) == ({"queues": []}, {"queues": ["batch", "debug"]})
    assert some == (errnums.EINVAL, "Use --all to apply this command to all queues")
    assert bare == (errnums.EINVAL, "reason is required for disable")
    assert wrong == (errnums.EINVAL, "'foo' is not a valid queue")
    assert shown == [
        {"enable": False, "start": False, "disable_reason": "noon"},
        {"enable": True, "start": False},
    ]
    assert disabled == (errnums.EINVAL, "job submission to batch is disabled: noon")


def test_a_stopped_queue_is_stopped_in_the_next_life_of_the_module_unless_that_was_not_meant():
    async def test(_instance, client):
        seen = []
        for more in ({}, {"nocheckpoint": True}):
            await client.call(
                "job-manager.queue-start", {"start": False, "reason": "x", "all": False, **more}
            )
            await client.call("module.remove", {"name": "job-manager"})
            await client.call("module.load", {"path": "job-manager", "args": []})
            seen.append(await client.call(STATUS, {}))
            await client.call("job-manager.queue-start", {"start": True, "all": False})
        return seen

    assert in_instance(test) == [
        {"enable": True, "start": False, "stop_reason": "x"},
        {"enable": True, "start": True},
    ]


def test_a_queue_says_that_the_scheduler_is_away():
    async def test(_instance, client):
        await client.call("module.remove", {"name": "sched"})
        await submit(client)
        await client.sleep(0.1)
        return await client.call(STATUS, {})

    assert in_instance(test) == {"enable": True, "start": False, "stop_reason": "Scheduler is offline"}


def test_defaults_and_the_queues_constraint_are_added_to_a_jobspec():
    conf = {
        "policy": {"jobspec": {"defaults": {"system": {"queue": "batch", "duration": "1h"}}}},
        "queues": {
            "batch": {"requires": ["big"]},
            "debug": {"policy": {"jobspec": {"defaults": {"system": {"duration": "1m"}}}}},
        },
    }
    rules = to_rules(conf)

    def completed(**system):
        spec = jobspec(**{"duration": 0, **system})
        rules.complete(spec)
        return {key: spec["attributes"]["system"].get(key) for key in ("queue", "duration", "constraints")}

    big = {"properties": ["big"]}
    assert completed() == {"queue": "batch", "duration": 3600.0, "constraints": big}
    assert completed(queue="debug") == {"queue": "debug", "duration": 60.0, "constraints": None}
    assert completed(duration=5, constraints={"properties": ["x", "big"]}) == {
        "queue": "batch", "duration": 5, "constraints": {"properties": ["x", "big"]}
    }  # fmt: skip
    assert completed(constraints={"hostlist": ["a"]})["constraints"] == {"and": [{"hostlist": ["a"]}, big]}
    untouched = jobspec()
    to_rules({}).complete(untouched)
    assert untouched == jobspec()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (jobspec(duration=7200), "requested duration (2h) exceeds policy limit of 1h"),
        (jobspec(duration=0), "requested duration (unlimited) exceeds policy limit of 1h"),
        (jobspec(duration=7200, queue="batch"), ""),
        (jobspec(duration=0, queue="free"), ""),
        (jobspec(duration=60, nodes=3), "requested nnodes (3) exceeds policy limit of 2"),
        (jobspec(duration=60, slots=3, queue="batch"), "ncores (3) exceeds policy limit of 2 for queue batch"),
        (jobspec(duration=60, slots=9), ""),
        (jobspec(duration=60, nodes=9, queue="free"), ""),
        (jobspec(duration=60, slots=1, queue="wide"), "ncores (1) is under policy limit of 2 for queue wide"),
    ],
)  # fmt: skip
def test_limits_are_held_and_a_queues_own_stand_before_the_general_ones(spec, says):
    rules = to_rules(
        {
            "policy": {"limits": {"duration": "1h", "job-size": {"max": {"nnodes": 2}}}},
            "queues": {
                "batch": {"policy": {"limits": {"duration": "8h", "job-size": {"max": {"ncores": 2}}}}},
                "free": {"policy": {"limits": {"duration": "0", "job-size": {"max": {"nnodes": -1}}}}},
                "wide": {"policy": {"limits": {"job-size": {"min": {"ncores": 2}}}}},
            },
        }
    )
    found = rules.refusal(check_jobspec(spec))
    assert found.endswith(says) and bool(found) == bool(says)


def test_a_job_beyond_a_limit_is_refused_at_its_submission():
    async def test(_instance, client):
        await client.call("config.load", {"policy": {"limits": {"duration": "1m"}}})
        return await refused(submit(client, jobspec(duration=3600)))

    text = "requested duration (1h) exceeds policy limit of 1m"
    assert in_instance(test) == (errnums.EINVAL, text)


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"policy": {"foo": 1}}, "unknown field `foo`"),
        ({"policy": {"jobspec": {"defaults": {"system": {"foo": 1}}}}}, "unknown field `foo`"),
        ({"policy": {"limits": {"duration": 1.0}}}, "policy.limits.duration"),
        ({"policy": {"limits": {"duration": "xyz"}}}, "policy.limits.duration"),
        ({"policy": {"limits": {"job-size": {"max": {"nnodes": -2}}}}}, "job-size.max.nnodes"),
        ({"policy": {"access": {"allow-user": [1]}}}, "allow-user"),
        ({"queues": 1}, "queues"),
        ({"queues": {"x": {"requires": ["foo|bar"]}}}, "no property"),
        ({"queues": {"x": {"policy": {"jobspec": {"defaults": {"system": {"queue": "x"}}}}}}}, "default queue"),
        ({"queues": {"x": {}}, "policy": {"jobspec": {"defaults": {"system": {"queue": "y"}}}}}, "default queue 'y'"),
    ],
)  # fmt: skip
def test_a_configuration_against_rfc_33_is_refused_with_its_place(conf, says):
    with pytest.raises(ValueError, match=says):
        to_rules(conf)


def test_such_a_configuration_is_not_loaded_whatever_modules_there_are():
    async def test(instance, client):
        errno, _ = await refused(client.call("config.load", {"policy": {"foo": 1}}))
        return errno, instance.conf

    assert in_instance(test, modules=()) == (errnums.EINVAL, {})


def test_a_guest_gives_a_job_only_what_the_limits_allow_and_not_while_it_runs():
    async def test(instance, client):
        await client.call("config.load", {"policy": {"limits": {"duration": "1h"}}})
        mine = {"attributes.system.duration": 7200.0}
        jobs = [await submit(client, jobspec(duration=60), urgency=urgency) for urgency in (0, 16)]
        await client.sleep(0.5)
        guest = instance.client()
        guest.rolemask = 2
        said = [await refused(guest.call("job-manager.update", {"id": job, "updates": mine})) for job in jobs]
        guest.close()
        await client.call("job-manager.update", {"id": jobs[0], "updates": mine})
        return said, (await attributes(client, jobs[0]))["duration"]

    said, duration = in_instance(test)
    assert said == [
        (errnums.EINVAL, "requested duration (2h) exceeds policy limit of 1h"),
        (errnums.EPERM, "duration update of running job requires instance owner"),
    ]
    assert duration == 7200.0
