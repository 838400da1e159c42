"""Jobs that wait for others: those that cannot be taken, and those that run one at a time under one name."""

from __future__ import annotations

from itertools import pairwise

import pytest

from brokersim.brokermod import RequestError, errnums, jobid
from tests.modules.job_harness import attributes, envelope, in_instance, jobspec, log_of, outcome, submit

NAMED = {"job": {"name": "one"}}


def running(seconds, **more):
    return jobspec(duration=0, exec={"test": {"run_duration": f"{seconds}s"}}, **more)


def waiting(scheme, value=None, **more):
    given = {"scheme": scheme} if value is None else {"scheme": scheme, "value": value}
    return running(1, dependencies=[given], **more)


async def refusal(client, spec):
    try:
        await submit(client, spec)
    except RequestError as error:
        return error.errno, error.text
    return None


@pytest.mark.parametrize(
    ("scheme", "status", "text"),
    [
        ("afterok", 256, "dependency: afterok: job {} failed or was canceled"),
        ("afternotok", 0, "dependency: afternotok: job {} succeeded"),
        ("afterexcept", 0, "dependency: afterexcept: job {}: no exception"),
        ("afterok", 0, None),
        ("afternotok", 256, None),
        ("after", 256, None),
    ],
)
def test_a_job_whose_dependency_will_never_be_met_is_not_taken(scheme, status, text):
    async def test(_instance, client):
        test_keys = {"run_duration": "1s", "wait_status": status}
        first = await submit(client, jobspec(duration=0, exec={"test": test_keys}))
        await outcome(client, first)
        return await refusal(client, waiting(scheme, jobid.encode(first))), jobid.encode(first)

    said, first = in_instance(test)
    assert said == (None if text is None else (errnums.EINVAL, text.format(first)))


NO_START = {"test": {"run_duration": "1s", "mock_exception": "init"}}


@pytest.mark.parametrize("scheme", ["after", "afterstart"])
def test_a_job_that_had_cores_and_never_started_is_none_that_others_could_start_after(scheme):
    async def test(_instance, client):
        first = await submit(client, jobspec(duration=0, exec=NO_START))
        await outcome(client, first)
        return await refusal(client, waiting(scheme, jobid.encode(first))), jobid.encode(first)

    said, first = in_instance(test)
    assert said == (errnums.EINVAL, f"dependency: after: {first} never started")


def test_who_waits_for_the_start_of_a_job_that_has_cores_and_never_starts_ends_with_it():
    async def test(_instance, client):
        first = await submit(client, jobspec(duration=0, exec=NO_START), urgency=0)
        second = await submit(client, waiting("after", jobid.encode(first)))
        await client.call("job-manager.urgency", {"id": first, "urgency": 16})
        await outcome(client, second)
        log = await log_of(client, second)
        return [event["context"]["note"] for event in log if event["name"] == "exception"], jobid.encode(
            first
        )

    notes, first = in_instance(test)
    assert notes[1:] == [f"dependency after-start={first} can never be satisfied"]


def test_what_is_no_dependency_is_refused_in_fluxs_words():
    async def test(_instance, client):
        return [
            await refusal(client, spec)
            for spec in (
                waiting("nosuch", "1"),
                waiting("afterok", "x!"),
                waiting("singleton"),
                waiting("begin-time", -1),
                waiting("begin-time", "foo"),
            )
        ]

    nosuch, no_id, no_name, *no_times = in_instance(test)
    assert nosuch[1].endswith('dependency scheme "nosuch" not supported; there are after, afterstart, afterany, '
                              "afterok, afternotok, afterexcept, begin-time, singleton")  # fmt: skip
    assert no_id == (errnums.EINVAL, 'dependency: afterok: "x!" is not a valid jobid')
    assert no_times == [(errnums.EINVAL, f"Invalid begin-time={value}") for value in ("-1", "foo")]
    assert no_name[0] == errnums.EINVAL and "singleton jobs require a job name" in no_name[1]


def test_dependencies_are_called_what_flux_calls_them():
    async def test(_instance, client):
        first = await submit(client, running(5))
        schemes = ("after", "afterany", "afterok")
        jobs = [await submit(client, waiting(scheme, jobid.encode(first))) for scheme in schemes]
        await outcome(client, jobs[-1])
        return [await log_of(client, job) for job in jobs], jobid.encode(first)

    logs, first = in_instance(test)
    added = [
        event["context"]["description"] for log in logs for event in log if event["name"] == "dependency-add"
    ]
    assert added == [f"after-start={first}", f"after-finish={first}", f"after-success={first}"]
    told = [event["context"] for event in logs[0] if event["name"] == "exception"]
    assert [(one["severity"], one["note"]) for one in told] == [
        (3, "dependency scheme 'after' is deprecated, use 'afterstart'")
    ]


async def times(client, jobs):
    rows = [await attributes(client, job) for job in jobs]
    return [(row["t_run"], row["t_inactive"]) for row in rows]


def test_singletons_of_one_name_run_one_after_the_other_in_their_order():
    async def test(_instance, client):
        jobs = [await submit(client, waiting("singleton", **NAMED)) for _ in range(4)]
        for job in jobs:
            await outcome(client, job)
        waited = [await log_of(client, job) for job in jobs]
        held = [any(event["name"] == "dependency-add" for event in log) for log in waited]
        return await times(client, jobs), held

    spans, held = in_instance(test)
    assert held == [False, True, True, True], "the first has nobody to wait for"
    assert all(start >= end for (_, end), (start, _) in pairwise(spans))


def test_singletons_that_come_at_one_moment_run_one_after_the_other():
    async def test(_instance, client):
        ids = []

        def submit_all(done):
            def taken(response, _):
                ids.append(response.payload["id"])
                if len(ids) == 4:
                    done(None)

            for _ in range(4):
                client.request("job-ingest.submit", {"J": envelope(waiting("singleton", **NAMED))}, taken)

        await client.occurrence(submit_all)
        for job in ids:
            await outcome(client, job)
        return sorted(await times(client, ids))

    spans = in_instance(test)
    assert all(start >= end for (_, end), (start, _) in pairwise(spans))


def test_a_singleton_waits_for_every_job_of_its_name_and_no_other():
    async def test(_instance, client):
        plain = await submit(client, running(5, **NAMED))
        single = await submit(client, waiting("singleton", **NAMED))
        later = await submit(client, running(20, **NAMED))
        other = await submit(client, waiting("singleton", job={"name": "two"}))
        unnamed = await submit(client, jobspec("one", duration=0, exec={"test": {"run_duration": "100s"}}))
        await outcome(client, single)
        return dict(zip("pslo", await times(client, (plain, single, later, other)), strict=True)), (
            await attributes(client, unnamed)
        )["state"]

    spans, state = in_instance(test, resources="1x8")
    assert spans["s"][0] >= spans["l"][1] > spans["p"][1], "those that came later, too"
    assert spans["o"][0] < spans["p"][1]
    assert state == 16, "a job that only runs a command of that name has no name"


def test_a_singleton_that_is_cancelled_lets_the_next_one_run():
    async def test(_instance, client):
        first = await submit(client, running(5, **NAMED))
        second, third = [await submit(client, waiting("singleton", **NAMED)) for _ in range(2)]
        await client.call("job-manager.raise", {"id": second, "type": "cancel", "severity": 0})
        answers = [await outcome(client, job) for job in (first, second, third)]
        return [one["success"] for one in answers]

    assert in_instance(test) == [True, False, True]


def test_purged_jobs_are_no_longer_counted_as_inactive():
    async def test(_instance, client):
        for _ in range(3):
            await outcome(client, await submit(client, running(1)))
        wish = {"age_limit": -1.0, "num_limit": 1, "batch": 10, "force": True}
        purged = await client.call("job-manager.purge", wish)
        return purged["count"], (await client.call("job-manager.stats-get"))["inactive_jobs"]

    assert in_instance(test) == (2, 1)


@pytest.mark.parametrize("scheme", ["afterany", "afterok", "afterstart"])
def test_a_job_whose_other_is_forgotten_while_its_first_event_is_written_does_not_wait_for_ever(scheme):
    async def test(_instance, client):
        other = await submit(client, running(1))
        await outcome(client, other)
        taken = []
        spec = waiting(scheme, jobid.encode(other))
        client.request("job-ingest.submit", {"J": envelope(spec)}, lambda answer, _: taken.append(answer))
        await client.sleep(0.015)  # of the twenty milliseconds that two windows are open
        wish = {"age_limit": -1.0, "num_limit": 0, "batch": 10, "force": True}
        assert (await client.call("job-manager.purge", wish))["count"] == 1 and not taken
        await client.sleep(1.0)
        return (await outcome(client, taken[0].payload["id"]))["success"]

    assert in_instance(test)
