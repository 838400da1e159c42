"""The scheduler as the job manager sees it: alloc, free, cancel, hello, over a live broker."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError, errnums
from tests.modules.job_harness import attributes, in_instance, jobspec, submit

SUCCESS, DENY, CANCEL = 0, 2, 3


def wish(job, spec=None, priority=16, t_submit=1.0):
    return {"id": job, "priority": priority, "userid": 0, "t_submit": t_submit, "jobspec": spec or jobspec()}


class Asking:
    """sched.alloc requests of one client, and what came back for each id."""

    def __init__(self, client):
        self.client = client
        self.answers = {}

    def ask(self, job, spec=None, **more):
        def answered(response, _arg):
            self.answers.setdefault(job, []).append(response.errnum or response.payload)

        return self.client.stream("sched.alloc", wish(job, spec, **more), answered)

    def types(self, job):
        return [answer if isinstance(answer, int) else answer["type"] for answer in self.answers.get(job, [])]


def test_a_success_carries_R_commits_it_and_is_the_only_answer():
    """No scheduler of Flux ends the stream behind it: that would be one message more for each job."""

    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1 << 24, jobspec(slots=3))
        await instance.sleep(0.1)
        looked = await client.call("job-info.lookup", {"id": 1 << 24, "keys": ["R"], "flags": 1})
        return asking.answers[1 << 24], looked["R"]

    [answer], committed = in_instance(test)
    assert (answer["id"], answer["type"]) == (1 << 24, SUCCESS)
    assert answer["R"] == committed
    assert answer["R"]["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0-2"}}]
    assert answer["annotations"] == {"sched": {"resource_summary": "rank0/core[0-2]"}}


def test_waiting_jobs_are_served_by_priority_and_the_head_is_not_overtaken():
    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1, jobspec(slots=4))
        await instance.sleep(0.1)
        asking.ask(2, jobspec(slots=3), priority=16, t_submit=2.0)
        asking.ask(3, jobspec(slots=4), priority=20, t_submit=9.0)
        asking.ask(4, jobspec(slots=1), priority=16, t_submit=1.0)
        await instance.sleep(0.1)
        order = [sorted(asking.answers)]
        for job in (1, 3):
            await client.call("sched.free", {"id": job, "final": True})
            await instance.sleep(0.1)
            order.append(sorted(asking.answers))
        return order, asking.types(3)

    order, types = in_instance(test)
    assert order == [[1], [1, 3], [1, 2, 3, 4]]
    assert types == [SUCCESS]


def test_what_can_never_run_is_denied_with_the_reason_at_once():
    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1, jobspec(slots=5))
        asking.ask(2, {"resources": "four"})
        await instance.sleep(0.1)
        with pytest.raises(RequestError) as refused:
            await client.call("feasibility.check", {"jobspec": jobspec(nodes=2)})
        assert await client.call("feasibility.check", {"jobspec": jobspec(slots=4)}) == {"errnum": 0}
        return asking.answers, refused.value

    answers, error = in_instance(test)
    assert answers[1][0]["type"] == DENY
    assert "5 slots of 1 cores; there are 1 nodes of 4 cores and 0 gpus" in answers[1][0]["note"]
    assert "resources must be a list" in answers[2][0]["note"]
    assert (error.errno, "2 nodes asked, 1 there" in error.text) == (errnums.EINVAL, True)


def test_a_cancelled_request_is_answered_and_the_next_takes_its_place():
    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1, jobspec(slots=4))
        asking.ask(2, jobspec(slots=4), priority=30)
        asking.ask(3, jobspec(slots=4))
        await instance.sleep(0.1)
        client.request("sched.cancel", {"id": 2})
        await client.call("sched.free", {"id": 1, "final": True})
        await instance.sleep(0.1)
        return [asking.types(job) for job in (1, 2, 3)]

    assert in_instance(test) == [[SUCCESS], [CANCEL], [SUCCESS]]


def test_a_new_priority_moves_a_waiting_job():
    async def test(instance, client):
        asking = Asking(client)
        for job in (1, 2, 3):
            asking.ask(job, jobspec(slots=4))
        await instance.sleep(0.1)
        await client.call("sched.prioritize", {"jobs": [[3, 31], [99, 5]]})
        await client.call("sched.free", {"id": 1, "final": True})
        await instance.sleep(0.1)
        return sorted(asking.answers)

    assert in_instance(test) == [1, 3]


def test_resources_are_freed_node_by_node_and_the_status_follows():
    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1, jobspec(nodes=2, slots=2))
        await instance.sleep(0.1)
        [answer] = asking.answers[1]
        part = {"version": 1, "execution": {"R_lite": [{"rank": "1", "children": {"core": "0-1"}}]}}
        ranks = [answer["R"]["execution"]["R_lite"]]
        for free in ({"id": 1, "R": part, "final": False}, {"id": 1, "final": True}):
            await client.call("sched.free", free)
            status = await client.call("sched.resource-status")
            ranks.append(status["allocated"]["execution"]["R_lite"])
        return ranks, status["all"]["execution"]["R_lite"], status["down"]["execution"]["R_lite"]

    ranks, everything, down = in_instance(test, resources="2x2")
    assert [[entry["rank"] for entry in entries] for entries in ranks] == [["0-1"], ["0"], []]
    assert everything == [{"rank": "0-1", "children": {"core": "0-1"}}]
    assert down == []


@pytest.mark.parametrize(
    ("topic", "payload", "errnum"),
    [
        ("sched.free", {"id": 7, "final": True}, errnums.ENOENT),
        ("sched.alloc", {"id": "one"}, errnums.EPROTO),
        ("sched.free", None, errnums.EPROTO),
        ("feasibility.check", {}, errnums.EPROTO),
    ],
)
def test_a_wrong_request_is_answered_and_harms_nothing(topic, payload, errnum):
    async def test(_instance, client):
        with pytest.raises(RequestError) as refused:
            await client.call(topic, payload)
        await client.call("sched.ping", {"seq": 0})
        return refused.value.errno

    assert in_instance(test) == errnum


def test_asking_twice_for_one_job_is_refused():
    async def test(instance, client):
        asking = Asking(client)
        asking.ask(1)
        asking.ask(1)
        await instance.sleep(0.1)
        return asking.types(1)

    assert in_instance(test) == [errnums.EEXIST, SUCCESS]


def test_a_reloaded_scheduler_learns_what_jobs_hold_and_waiting_ones_ask_again():
    async def test(instance, client):
        from tests.modules.job_harness import attributes, outcome, submit

        runs = await submit(client, jobspec(slots=4, duration=5))
        waits = await submit(client, jobspec(slots=4, duration=1))
        await instance.sleep(1)
        await instance.remove("sched")
        late = await submit(client, jobspec(slots=1, duration=1))
        await instance.load("sched")
        await instance.sleep(1)
        held = (await client.call("sched.stats-get"))["cores"]["allocated"]
        states = [(await attributes(client, job))["state"] for job in (runs, waits, late)]
        return held, states, [(await outcome(client, job))["success"] for job in (runs, waits, late)]

    held, states, successes = in_instance(test)
    assert held == 4
    assert states == [16, 8, 8]
    assert successes == [True, True, True]


def test_resources_that_cannot_be_fail_the_load_with_one_clear_line():
    async def test(instance, _client):
        await instance.remove("sched")
        with pytest.raises(RequestError) as refused:
            await instance.load("sched", "resources=0x4")
        return refused.value.text

    assert "module 'sched'" in in_instance(test)


def test_a_limited_scheduler_has_so_many_requests_at_once_and_the_most_urgent_of_the_rest_follow():
    async def test(_instance, client):
        await client.call("module.remove", {"name": "sched"})
        await client.call("module.load", {"path": "sched", "args": ["mode=limited=1", "resources=1x1"]})
        long = {"exec": {"test": {"run_duration": "10s"}}, "duration": 0}
        jobs = [await submit(client, jobspec(**long), urgency=urgency) for urgency in (16, 10, 20, 12, 30)]
        await client.sleep(1)
        query = await client.call("job-manager.alloc-query")
        await client.call("job-manager.urgency", {"id": jobs[3], "urgency": 25})
        await client.call("job-manager.drain")
        starts = {job: (await attributes(client, job))["t_run"] for job in jobs}
        return query, [jobs.index(job) for job in sorted(starts, key=starts.get)]

    query, order = in_instance(test)
    assert query == {"queue_length": 3, "alloc_pending": 1, "running": 1}
    # The second one's request, which the scheduler had, made room for more urgent ones; the fourth, of urgency 12,
    # became more urgent than the third while it waited.
    assert order == [0, 4, 3, 2, 1]


@pytest.mark.parametrize("mode", ["foobar", "limited=-1", "limited=0", "limited"])
def test_a_mode_that_is_none_keeps_the_scheduler_from_loading(mode):
    async def test(_instance, client):
        await client.call("module.remove", {"name": "sched"})
        with pytest.raises(RequestError, match="give unlimited, or limited=N"):
            await client.call("module.load", {"path": "sched", "args": [f"mode={mode}"]})

    in_instance(test)


def test_the_job_manager_needs_no_end_of_the_streams_it_opened_and_keeps_none_of_them():
    """Else it would have 200,000 requests open after so many jobs, and be refused the next."""

    async def test(instance, client):
        for _ in range(3):
            await submit(client)
        await instance.sleep(1)
        manager = instance.module(0, "job-manager").handle
        return [message.topic for _, _, message in manager.pending.values()]

    topics = in_instance(test)
    assert not {"sched.alloc", "job-exec.start"}.intersection(topics)
