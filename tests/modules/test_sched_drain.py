"""Drained nodes and the scheduler: no new jobs there, jobs there go on, and what was asked for waits."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, submit

TWO = {"resources": "2x2"}


async def place(client, job):
    """The nodes a job has, when it has some."""
    while True:
        shown = await attributes(client, job)
        if "ranks" in shown:
            return shown["ranks"]
        await client.sleep(0.01)


def test_a_drained_node_gets_no_jobs_and_its_own_go_on():
    async def test(instance, client):
        first = await submit(client, jobspec(duration=10))
        assert await place(client, first) == "0"
        await client.call("resource.drain", {"targets": "0", "reason": "fans"}, nodeid=0)
        second = await submit(client, jobspec(duration=10))
        assert await place(client, second) == "1"
        return await outcome(client, first)

    assert in_instance(test, **TWO)["success"]


def test_jobs_wait_for_undrain():
    async def test(instance, client):
        await client.call("resource.drain", {"targets": "sim[0-1]"}, nodeid=0)
        job = await submit(client)
        await instance.sleep(100)
        waiting = await attributes(client, job)
        await client.call("resource.undrain", {"targets": "1"}, nodeid=0)
        await outcome(client, job)
        return waiting["state"], (await attributes(client, job))["ranks"]

    assert in_instance(test, **TWO) == (8, "1")


def test_a_job_that_needs_drained_nodes_is_not_refused():
    async def test(instance, client):
        await client.call("resource.drain", {"targets": "0"}, nodeid=0)
        job = await submit(client, jobspec(nodes=2))
        await client.call("resource.undrain", {"targets": "0"}, nodeid=0)
        return await outcome(client, job)

    assert in_instance(test, **TWO)["success"]


def test_a_scheduler_loaded_later_knows_what_is_drained():
    async def test(instance, client):
        await client.call("resource.drain", {"targets": "0"}, nodeid=0)
        await instance.remove("sched")
        await instance.load("sched")
        job = await submit(client)
        await outcome(client, job)
        return (await attributes(client, job))["ranks"]

    assert in_instance(test, **TWO) == "1"


@pytest.mark.parametrize("args", [(), ("resources=1x2",)])
def test_a_resource_module_loaded_anew_is_heard_again(args):
    async def test(instance, client):
        await instance.remove("sched")
        await instance.load("sched", *args)
        running = await submit(client, jobspec(duration=30))
        await place(client, running)
        await client.call("resource.drain", {"targets": "0"}, nodeid=0)
        await instance.remove("resource")
        await instance.sleep(5)
        await instance.load("resource")
        await instance.sleep(2)
        waiting = await submit(client)
        await instance.sleep(5)
        state = (await attributes(client, waiting))["state"]
        await client.call("resource.undrain", {"targets": "0"}, nodeid=0)
        await outcome(client, waiting)
        over = await attributes(client, waiting), await attributes(client, running)
        return state, [job["state"] for job in over], (await client.call("sched.stats-get"))["cores"]

    state, over, cores = in_instance(test, resources="1x2")
    assert (state, over) == (8, [64, 16])
    assert (cores["all"], cores["allocated"]) == (2, 1)


def test_one_scheduler_at_a_time_acquires_the_resources():
    async def test(instance, client):
        told = []
        client.stream("resource.acquire", None, lambda response, _: told.append(response))
        await instance.sleep(0)
        await instance.remove("sched")
        client.stream("resource.acquire", None, lambda response, _: told.append(response))
        await instance.sleep(0)
        await client.call("resource.drain", {"targets": "1"}, nodeid=0)
        await client.call("resource.undrain", {"targets": "1"}, nodeid=0)
        with pytest.raises(RequestError) as caught:
            await client.call("resource.acquire", nodeid=0)
        return [response.errnum or response.payload for response in told], caught.value.errno

    (busy, first, *changes), errnum = in_instance(test, **TWO)
    assert (busy, errnum) == (16, 71)
    assert first["up"] == "0-1" and first["resources"]["version"] == 1
    assert changes == [{"down": "1"}, {"up": "1"}]
