"""What clients ask the job manager besides submitting: waiting for, remarks, updates, lists, purges, the journal."""

from __future__ import annotations

import msgspec
import pytest

from brokersim.brokermod import RequestError, errnums, jobid
from brokersim.fluxapi.constants import FLUX_JOB_WAITABLE as FLAG_WAITABLE
from tests.modules.job_harness import attributes, envelope, in_instance, jobspec, names_of, outcome, submit
from tests.modules.test_job_life import LIFE


async def refused(client, topic, payload):
    """Errnum and text of a request that must be refused."""
    with pytest.raises(RequestError) as error:
        await client.call(topic, payload)
    return error.value.errno, error.value.text


def test_wait_for_any_tells_of_each_waitable_job_once():
    async def test(_instance, client):
        jobs = [
            await submit(client, jobspec(duration=3 - number), flags=FLAG_WAITABLE) for number in range(3)
        ]
        await submit(client, jobspec(duration=0.5))
        told = [(await outcome(client, -1))["id"] for _ in range(3)]
        return jobs[::-1] == told, await refused(client, "job-manager.wait", {"id": -1})

    assert in_instance(test) == (True, (10, "there are no more waitable jobs"))


def test_a_waitable_job_that_failed_is_kept_until_somebody_claims_it():
    async def test(instance, client):
        job = await submit(
            client,
            jobspec(duration=0, exec={"test": {"run_duration": "1ms", "wait_status": 256}}),
            flags=FLAG_WAITABLE,
        )
        await instance.sleep(1)
        [row] = (await client.call("job-manager.list", {"max_entries": 0}))["jobs"]
        told = await client.call("job-manager.wait", {"id": -1})
        left = (await client.call("job-manager.list", {"max_entries": 0}))["jobs"]
        again = await refused(client, "job-manager.wait", {"id": job})
        return row["id"] == job, row["state"], told["id"] == job, told["success"], told["errstr"], left, again

    never = (10, "invalid job id, or job may be inactive and not waitable")
    status = "task(s) exited with exit code 1"
    assert in_instance(test) == (True, 64, True, False, status, [], never)


def test_a_job_is_claimed_by_one_waiter_and_only_if_it_is_waitable():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=5), flags=FLAG_WAITABLE)
        other = await submit(client, jobspec(duration=5))
        answers = []
        client.request(
            "job-manager.wait", {"id": job}, lambda response, _: answers.append(response.payload["id"])
        )
        await instance.sleep(0.1)
        said = [await refused(client, "job-manager.wait", {"id": one})
                for one in (job, other, -1)]  # fmt: skip
        await instance.sleep(10)
        return answers == [job], said

    assert in_instance(test) == (True, [
        (10, "job id already has a waiter"),
        (10, "job was not submitted with FLUX_JOB_WAITABLE"),
        (10, "there are no more waitable jobs"),
    ])  # fmt: skip


def test_jobs_held_by_the_queue_start_by_priority_then_by_age():
    async def test(_instance, client):
        await client.call("job-manager.queue-start", {"start": False})
        jobs = {}
        for urgency in (10, 20, 16, 31, 1, 16):
            jobs[await submit(client, jobspec(slots=4, duration=1), urgency=urgency)] = urgency
        await client.call("job-manager.queue-start", {"start": True})
        await client.call("job-manager.drain")
        begun = {job: (await attributes(client, job))["t_run"] for job in jobs}
        order = sorted(jobs, key=lambda job: begun[job])
        return [jobs[job] for job in order], [job for job in order if jobs[job] == 16]

    order, same = in_instance(test)
    assert order == [31, 20, 16, 16, 10, 1]
    assert same == sorted(same)


@pytest.mark.parametrize(
    ("scheme", "is_met"), [("after", False), ("afterok", False), ("afternotok", False), ("afterany", True)]
)
def test_a_job_that_never_ran_meets_no_dependency_but_afterany(scheme, is_met):
    async def test(_instance, client):
        held = await submit(client, urgency=0)
        waits = await submit(client, jobspec(dependencies=[{"scheme": scheme, "value": jobid.encode(held)}]))
        await client.call("job-manager.raise", {"id": held, "type": "cancel", "severity": 0})
        late = jobspec(dependencies=[{"scheme": scheme, "value": jobid.encode(held)}])
        answer = await outcome(client, waits)
        refusal = None
        if is_met:
            assert (await outcome(client, await submit(client, late)))["success"]
        else:
            refusal = await refused(client, "job-ingest.submit", {"J": envelope(late)})
        return (answer["success"], answer["errstr"]), refusal, jobid.encode(held)

    answer, refusal, held = in_instance(test)
    if is_met:
        assert answer == (True, "")
        return
    shown = {"after": "after-start", "afterok": "after-success", "afternotok": "after-failure"}[scheme]
    never = f"Fatal exception type=dependency dependency {shown}={held} job never started"
    assert answer == (False, never)
    assert refusal == (errnums.EINVAL, f"dependency: after: {held} never started")


def test_a_memo_is_shown_with_a_job_and_kept_unless_it_is_volatile():
    async def test(_instance, client):
        job = await submit(client, urgency=0)
        for memo, volatile in (({"a": 1, "b": 2}, False), ({"b": None}, False), ({"c": 3}, True)):
            await client.call("job-manager.memo", {"id": job, "memo": memo, "volatile": volatile})
        shown = (await attributes(client, job))["annotations"]
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        late = await refused(client, "job-manager.memo", {"id": job, "memo": {}})
        return shown, (await names_of(client, job)).count("memo"), late

    assert in_instance(test) == ({"user": {"a": 1, "c": 3}}, 2, (errnums.ENOENT, "job is inactive"))


def test_objects_in_memos_are_joined_key_by_key():
    async def test(_instance, client):
        job = await submit(client, urgency=0)
        for memo in (
            {"a": {"b": {"c": 42}, "d": "x"}},
            {"a": {"f": 1}},
            {"a": {"b": None}},
            {"a": {"d": {"e": 2}}},
        ):
            await client.call("job-manager.memo", {"id": job, "memo": memo})
        return (await attributes(client, job))["annotations"]

    assert in_instance(test) == {"user": {"a": {"f": 1, "d": {"e": 2}}}}


def test_the_duration_of_a_job_can_be_updated_and_nothing_else():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=100))
        await client.sleep(0.5)
        r = await client.call("job-manager.getattr", {"id": job, "attrs": ["R"]})
        start = r["R"]["execution"]["starttime"]
        said = [
            await refused(client, "job-manager.update", {"id": job, "updates": updates})
            for updates in (
                {},
                {"tasks": []},
                {"attributes.system.cwd": "/"},
                {"attributes.system.duration": 0.1},
            )
        ]
        await client.call("job-manager.update", {"id": job, "updates": {"attributes.system.duration": 200.0}})
        attrs = ["jobspec", "R", "eventlog"]
        now = await client.call("job-manager.getattr", {"id": job, "attrs": attrs})
        shown = (await attributes(client, job))["duration"]
        names = [event["name"] for event in now["eventlog"]][-2:]
        duration = now["jobspec"]["attributes"]["system"]["duration"]
        return said, duration, now["R"]["execution"]["expiration"] - start, shown, names

    said, duration, left, shown, names = in_instance(test)
    invalid = (errnums.EINVAL, "one or more jobspec updates are invalid")
    assert said[:2] == [invalid] * 2
    assert said[2] == (errnums.EINVAL, "update of attributes.system.cwd not supported")
    assert said[3] == (errnums.EINVAL, "requested duration places job expiration in the past")
    assert (duration, left, shown, names) == (200.0, 200.0, 200.0, ["jobspec-update", "resource-update"])


def test_history_getinfo_and_alloc_query_tell_of_all_jobs():
    async def test(_instance, client):
        jobs = [await submit(client, jobspec(slots=4, duration=5)) for _ in range(3)]
        await client.sleep(1)
        said = [
            (await client.call("job-manager.history.get", {"slice": text}))["jobs"]
            for text in ("[:2]", "[-1:]")
        ]
        assert said == [jobs[:0:-1], jobs[:1]]
        assert (await client.call("job-manager.getinfo"))["max_jobid"] == jobs[-1]
        bad = await refused(client, "job-manager.history.get", {"slice": "x"})
        return await client.call("job-manager.alloc-query"), bad

    counts = {"queue_length": 0, "alloc_pending": 2, "running": 1}
    assert in_instance(test) == (counts, (errnums.EINVAL, "could not parse python-style slice expression"))


def test_purged_jobs_are_forgotten_with_their_records():
    async def test(_instance, client):
        jobs = [await submit(client) for _ in range(3)]
        await client.call("job-manager.drain")
        wish = {"age_limit": -1.0, "num_limit": 1, "batch": 10}
        counted = await client.call("job-manager.purge", {**wish, "force": False})
        kept = (await client.call("job-manager.history.get", {"slice": "[:]"}))["jobs"]
        forced = await client.call("job-manager.purge", {**wish, "force": True})
        left = (await client.call("job-manager.history.get", {"slice": "[:]"}))["jobs"]
        gone = await refused(client, "job-info.lookup", {"id": jobs[0], "keys": ["jobspec"]})
        bad = await refused(client, "job-manager.purge", {**wish, "batch": 0, "force": True})
        return counted, len(kept), forced, left == jobs[2:], gone[0], bad[1]

    assert in_instance(test) == (
        {"count": 2},
        3,
        {"count": 2},
        True,
        errnums.ENOENT,
        "batch must be >= 1 and <= 1000",
    )


@pytest.mark.parametrize(
    ("limit", "left"), [({"inactive-num-limit": 2}, 2), ({"inactive-age-limit": "1m"}, 1)]
)
def test_inactive_jobs_are_forgotten_by_the_limits_configured(limit, left):
    async def test(instance, client):
        for _ in range(150):
            await submit(client)
        await client.call("job-manager.drain")
        await instance.sleep(90)
        await submit(client)
        await client.call("job-manager.drain")
        await instance.sleep(20)
        remembered = (await client.call("job-manager.history.get", {"slice": "[:]"}))["jobs"]
        listed = (await client.call("job-list.list", {"max_entries": 0, "attrs": []}))["jobs"]
        return len(remembered), len(listed)

    assert in_instance(test, conf={"job-manager": limit}) == (left, left)


def test_limits_of_inactive_jobs_may_change_and_go_and_nonsense_is_refused():
    async def test(instance, client):
        for _ in range(3):
            await submit(client)
        await client.call("job-manager.drain")
        counts = []
        for table in ({}, {"inactive-num-limit": 1}, {}):
            await client.call("job-manager.config-reload", {"job-manager": table})
            await instance.sleep(10)
            await submit(client)
            await client.call("job-manager.drain")
            await instance.sleep(10)
            counts.append(len((await client.call("job-manager.history.get", {"slice": "[:]"}))["jobs"]))
        wrong = ({"inactive-num-limit": -2}, {"inactive-num-limit": True}, {"inactive-age-limit": "soon"}, [])
        refusals = [
            await refused(client, "job-manager.config-reload", {"job-manager": table}) for table in wrong
        ]
        return counts, refusals

    number, age = (
        "job-manager.inactive-num-limit: must be >= 0",
        "job-manager.inactive-age-limit: invalid FSD",
    )
    counts, refusals = in_instance(test)
    assert counts == [4, 1, 2]
    texts = (number, number, age, "configuration: job-manager is no table")
    assert refusals == [(errnums.EINVAL, text) for text in texts]


def test_the_journal_tells_only_of_the_events_asked_for_and_of_ended_jobs_if_asked():
    async def test(instance, client):
        ended = await submit(client)
        await outcome(client, ended)
        heard = {}
        for name, wish in (
            ("allow", {"allow": {"start": 1}}),
            ("deny", {"deny": dict.fromkeys([*LIFE[1:], "annotations"], 1)}),
            ("full", {"full": True}),
        ):
            heard[name] = []
            client.stream(
                "job-manager.events-journal",
                wish,
                lambda response, name: heard[name].append(response.payload),
                name,
            )
        await instance.sleep(0.1)
        await outcome(client, await submit(client))
        names = {
            name: [event["name"] for entry in entries for event in entry["events"]]
            for name, entries in heard.items()
        }
        return names, heard["full"][0]["id"] == ended, heard["full"][0]["jobspec"]["version"]

    names, is_ended, version = in_instance(test)
    assert names == {
        "allow": ["start"],
        "deny": ["submit"],
        "full": [*LIFE, *LIFE[:4], "annotations", *LIFE[4:]],
    }
    assert (is_ended, version) == (True, 1)


def test_a_job_is_shown_when_it_has_come_to_the_state_waited_for():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=5))
        seen = {}
        for state in (2, 16, 64):
            wish = {"id": job, "attrs": ["state"], "state": state}
            client.request(
                "job-list.list-id", wish, lambda response, state: seen.update({state: client.now()}), state
            )
        await instance.sleep(1)
        early = set(seen)
        await instance.sleep(10)
        return early, set(seen), seen[64] > 5

    assert in_instance(test) == ({2, 16}, {2, 16, 64}, True)


def test_a_list_without_a_constraint_heeds_the_older_keys():
    async def test(_instance, client):
        jobs = [await submit(client, jobspec(name, duration=100)) for name in ("one", "two")]
        await client.sleep(1)

        async def listed(**more):
            answer = await client.call("job-list.list", {"max_entries": 0, "attrs": [], **more})
            return [job["id"] for job in answer["jobs"]]

        said = [
            await listed(name="two"),
            await listed(states=16),
            await listed(results=1),
            await listed(userid=7),
        ]
        return [[jobs.index(job) for job in ids] for ids in said]

    assert in_instance(test) == [[1], [1, 0], [], []]


def test_a_record_that_is_not_there_is_told_from_a_job_that_is_none():
    async def test(_instance, client):
        job = await submit(client)
        await outcome(client, job)
        return [await refused(client, "job-info.lookup", {"id": one, "keys": ["badkey"]}) for one in (job, 5)]

    (errno, text), nobody = in_instance(test)
    assert (errno, text.partition(": ")[2]) == (errnums.ENOENT, "badkey: key not found")
    assert nobody == (errnums.ENOENT, "invalid job id: there is no job ƒ6")


def test_what_jobs_have_is_told_as_one_r():
    async def test(instance, client):
        async def held():
            execution = (await client.call("job-manager.resource-status"))["allocated"]["execution"]
            lite = [(one["rank"], one["children"]) for one in execution["R_lite"]]
            return lite, execution["nodelist"]

        found = [await held()]
        whole = await submit(client, jobspec(nodes=2, cores=2, duration=10))
        parts = [await submit(client, jobspec(cores=1, duration=20)) for _ in range(2)]
        await instance.sleep(1)
        found.append(await held())
        await outcome(client, whole)
        await instance.sleep(1)
        found.append(await held())
        for job in parts:
            await outcome(client, job)
        await instance.sleep(1)
        return [*found, await held()]

    nothing = ([], [""])
    two = {"core": "0-1"}
    all_, some = in_instance(test, resources="3x2")[1:3]
    assert all_ == ([("0-2", two)], ["sim[0-2]"]) and some == ([("2", two)], ["sim2"])
    assert in_instance(test, resources="3x2")[::3] == [nothing, nothing]


def test_the_built_in_plugin_for_durations_is_removed_and_loaded_with_its_setting():
    async def test(_instance, client):
        async def jobtap(**wish):
            return await client.call("job-manager.jobtap", wish)

        update = {
            "id": await submit(client, jobspec(duration=100)),
            "updates": {"attributes.system.duration": 90.0},
        }
        await client.sleep(0.5)
        name = ".update-duration"
        said = [await refused(client, "job-manager.jobtap", {"load": name})]
        await jobtap(remove="all")
        await client.call("job-manager.update", update)
        await jobtap(remove=name)
        said.append(await refused(client, "job-manager.update", update))
        said.append(await refused(client, "job-manager.jobtap", {"remove": name}))
        said.append(await refused(client, "job-manager.jobtap", {"load": name, "conf": {"x": 1}}))
        await jobtap(load=name, conf={"owner-allow-any": 0})
        said.append(await refused(client, "job-manager.update", update))
        await jobtap(remove=name, load=name)
        await client.call("job-manager.update", update)
        return said

    assert in_instance(test) == [
        (errnums.EEXIST, "plugin '.update-duration' is already loaded; remove it first"),
        (errnums.EINVAL, "update of attributes.system.duration not supported"),
        (errnums.ENOENT, "Failed to find plugin to remove"),
        (errnums.EINVAL, "plugin '.update-duration' has the setting owner-allow-any=0 or 1 only"),
        (errnums.EPERM, "duration update of running job requires instance owner"),
    ]


def test_an_exception_may_bring_the_wait_status_a_job_ends_with():
    async def test(_instance, client):
        job = await submit(client, urgency=0)
        for more in ({"wait_status": 11}, {}):
            wish = {"id": job, "type": "remark", "severity": 1, **more}
            await client.call("job-manager.raise", wish)
        await client.sleep(1)  # events are committed a little later
        log = await log_of_active(client, job)
        return [event["context"] for event in log if event["name"] == "exception"]

    with_status, without = in_instance(test)
    assert list(with_status) == ["type", "severity", "note", "userid", "wait_status"]
    assert with_status["wait_status"] == 11 and "wait_status" not in without


async def log_of_active(client, job):
    """The eventlog as it is now."""
    answer = await client.call("job-info.lookup", {"id": job, "keys": ["eventlog"], "flags": 0})
    return [msgspec.json.decode(line) for line in answer["eventlog"].splitlines()]


def test_before_any_job_the_largest_id_is_0_and_nobody_keeps_house():
    async def test(_instance, client):
        largest = [(await client.call(f"job-manager.{one}"))["max_jobid"] for one in ("stats-get", "getinfo")]
        await client.call("job-manager.housekeeping-kill", {"signum": 15})
        wrong = await refused(client, "job-manager.housekeeping-kill", {"signum": 99})
        return largest, wrong[0]

    assert in_instance(test) == ([0, 0], errnums.EINVAL)


def test_events_of_ones_own_are_posted_to_an_active_jobs_log():
    async def test(_instance, client):
        job = await submit(client, urgency=0)
        topic = "job-manager.post-event.post"
        await client.call(topic, {"id": job, "name": "mine", "context": {"a": 1}})
        await client.call(topic, {"id": job, "name": "bare"})
        log = [(event["name"], event.get("context")) for event in await log_of_active(client, job)]
        wrong = [
            await refused(client, topic, {"id": job, "name": name}) for name in ("", "finish", "exception")
        ]
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        wrong += [await refused(client, topic, {"id": one, "name": "late"}) for one in (job, 5)]
        return log[-2:], [errnum for errnum, _ in wrong]

    log, errnums_of = in_instance(test)
    assert log == [("mine", {"a": 1}), ("bare", None)]
    assert errnums_of == [errnums.EINVAL] * 3 + [errnums.ENOENT] * 2
