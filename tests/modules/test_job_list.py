"""job-list as a module: what it knows comes from the journal, whenever it is loaded; what it refuses and limits."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError, errnums
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, stream, submit


async def listed(client, **more):
    answer = await client.call("job-list.list", {"max_entries": 0, "attrs": ["all"], **more})
    return answer["jobs"]


async def reload(client, *names):
    for name in names:
        await client.call("module.remove", {"name": name})
    for name in names:
        await client.call("module.load", {"path": name, "args": []})


def test_a_reloaded_job_list_knows_the_jobs_of_the_past_and_those_to_come():
    async def test(_instance, client):
        done, failed = await submit(client), await submit(client, jobspec("no", duration=0.001, **SLEEP))
        await outcome(client, done)
        await client.call("job-manager.raise", {"id": failed, "type": "cancel", "severity": 0})
        await outcome(client, failed)
        held = await submit(client, urgency=0)
        before = await listed(client)
        stats = await client.call("job-list.job-stats")
        await reload(client, "job-list")
        assert await client.call("job-list.job-stats") == stats
        after = await listed(client)
        later = await submit(client, urgency=0)
        return before, after, [held, later], await listed(client)

    before, after, waiting, last = in_instance(test)
    # Annotations are not in the eventlog, so nobody remembers those of jobs that have ended.
    assert [without(one, "annotations") for one in before] == [without(one, "annotations") for one in after]
    assert [one["id"] for one in last][:2] == waiting


def test_a_reloaded_job_manager_tells_a_job_list_that_was_there_before():
    async def test(_instance, client):
        job = await submit(client)
        await outcome(client, job)
        await reload(client, "job-manager")
        return job, [one["id"] for one in await listed(client)], await submit(client)

    job, known, later = in_instance(test)
    assert known == [job] and later > job


SLEEP = {"exec": {"test": {"run_duration": "30s"}}}


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


def test_what_is_asked_before_the_journal_has_told_of_it_is_answered_when_it_has():
    async def test(instance, client):
        await client.call("job-list.job-state-pause")
        job = await submit(client)
        await outcome(client, job)
        answers = []
        for state in (0, 16, 16):
            wish = {"id": job, "attrs": ["state"], "state": state}
            client.request(
                "job-list.list-id", wish, lambda response, _: answers.append(response.payload), None
            )
        await client.sleep(0.01)
        waits = (await client.call("job-list.stats-get"))["idsync"]
        early = list(answers)
        await client.call("job-list.job-state-unpause")
        await client.sleep(0.01)
        with pytest.raises(RequestError, match="unknown job") as unknown:
            await attributes(client, 12345)
        return early, waits, answers, unknown.value.errno

    early, waits, answers, errno = in_instance(test)
    assert (early, waits, errno) == ([], {"lookups": 0, "waits": 1}, errnums.ENOENT)
    assert sorted(answer["job"]["state"] for answer in answers) == [1, 16, 16]


def test_a_stream_of_figures_goes_on_with_each_change_and_ends_with_who_asked():
    async def test(_instance, client):
        seen = []
        client.stream("job-list.job-stats", {}, lambda response, _: seen.append(response.payload))
        await outcome(client, await submit(client))
        await client.sleep(1)
        figures = [one["job_states"]["inactive"] for one in seen]
        watched = (await client.call("job-list.stats-get"))["stats_watchers"]
        return figures[0], figures[-1], watched

    assert in_instance(test) == (0, 1, 1)


def test_purged_jobs_are_gone_from_lists_and_counted_apart():
    async def test(_instance, client):
        for _ in range(3):
            await outcome(client, await submit(client))
        limits = {"age_limit": -1.0, "num_limit": 1, "batch": 10, "force": True}
        await client.call("job-manager.purge", limits)
        stats = await client.call("job-list.job-stats")
        return len(await listed(client)), stats["job_states"]["total"], stats["inactive_purged"]

    assert in_instance(test) == (1, 1, 2)


def test_a_list_may_look_at_so_many_jobs_and_no_more():
    async def test(_instance, client):
        for _ in range(3):
            await outcome(client, await submit(client))
        await client.call("config.load", {"job-list": {"max_comparisons": 2}})
        with pytest.raises(RequestError, match="Excessive comparisons") as refused:
            await listed(client)
        with pytest.raises(RequestError, match="max_comparisons must be >= 0") as wrong:
            await client.call("config.load", {"job-list": {"max_comparisons": -1}})
        _, errnum = await stream(client, "job-list.list", {"max_entries": 0, "attrs": []})
        await client.call("config.load", {"job-list": {"max_comparisons": 3}})
        return refused.value.errno, wrong.value.errno, errnum, len(await listed(client))

    assert in_instance(test) == (errnums.EINVAL, errnums.EINVAL, errnums.EINVAL, 3)


@pytest.mark.parametrize(
    ("attrs", "errno", "says"),
    [
        (5, errnums.EPROTO, "attrs must be an array"),
        ([5], errnums.EINVAL, "attr has no string value"),
        (["foo"], errnums.EINVAL, "foo is not a valid attribute"),
    ],
)
def test_attributes_that_are_none_are_refused(attrs, errno, says):
    async def test(_instance, client):
        with pytest.raises(RequestError, match=says) as refused:
            await client.call("job-list.list", {"max_entries": 0, "attrs": attrs})
        return refused.value.errno

    assert in_instance(test) == errno


def test_more_entries_than_there_can_be_are_all():
    async def test(_instance, client):
        job = await submit(client)
        answer = await client.call("job-list.list", {"max_entries": 1 << 63, "attrs": []})
        return [one["id"] for one in answer["jobs"]] == [job]

    assert in_instance(test)
