"""Those who look over the job manager's shoulder: listeners on states, the journal, watchers of R."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import RequestError, errnums, jobid, treeobj
from brokersim.protocol.updates import apply_updates
from tests.modules.job_harness import END, JOB_MODULES, in_instance, jobspec, log_of, outcome, stream, submit

ORDER = ["NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE"]


def machine_of(instance):
    return instance.module(0, "job-manager").handle.body._machine


def test_listeners_hear_of_every_state_and_the_sum_holds_each_time_they_do():
    async def test(instance, client):
        machine, heard, sums = machine_of(instance), [], []

        def listen(topic, job):
            heard.append((topic, job.id))
            counts = machine.jobs.counts
            sums.append(sum(counts.to_dict().values()) == counts.submitted)

        machine.hooks.add("job.*", listen)
        only_run = []
        machine.hooks.add("job.state.run", lambda topic, job: only_run.append(job.id))
        jobs = [await submit(client, jobspec(duration=number)) for number in range(3)]
        for job in jobs:
            await outcome(client, job)
        return jobs, heard, sums, only_run

    jobs, heard, sums, only_run = in_instance(test)
    for job in jobs:
        topics = [topic for topic, one in heard if one == job]
        assert topics == ["job.new", *(f"job.state.{state.lower()}" for state in ORDER[1:])]
    assert all(sums)
    assert len(sums) == 21
    assert only_run == jobs


def test_a_cancelled_or_departed_follower_of_the_journal_hears_nothing_more():
    async def test(instance, client):
        heard, other_heard = [], []
        request = client.stream(
            "job-manager.events-journal", {}, lambda response, _: heard.append(response.errnum)
        )
        other = instance.client(name="other")
        other.stream(
            "job-manager.events-journal", {}, lambda response, _: other_heard.append(response.errnum)
        )
        await instance.sleep(0.1)
        client.request("job-manager.events-journal-cancel", {"matchtag": request.matchtag})
        other.close()
        await instance.sleep(0.1)
        answers = instance.module(0, "job-manager").handle.counts[2]
        await submit(client, urgency=0)
        return heard, other_heard, instance.module(0, "job-manager").handle.counts[2] - answers

    alone = tuple(name for name in JOB_MODULES if name != "job-list")  # which follows the journal, too
    heard, other_heard, answers = in_instance(test, modules=alone)
    assert (heard, other_heard) == ([0, END], [0])
    assert answers == 1, "job-manager.submit, no journal"


def test_a_watcher_of_R_is_told_at_once_and_after_each_update_until_the_end():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=10))
        await instance.sleep(1)
        told = []

        def answered(response, _arg):
            told.append(response.errnum or response.payload["R"]["execution"]["expiration"])

        client.stream("job-info.update-watch", {"id": job, "key": "R", "flags": 0}, answered)
        await instance.sleep(1)
        machine = machine_of(instance)
        machine.post(machine.jobs.get(job), "resource-update", {"expiration": 99.5})
        await instance.sleep(1)
        current = await client.call("job-info.lookup", {"id": job, "keys": ["R"], "flags": 3})
        stored = await client.call("job-info.lookup", {"id": job, "keys": ["R"], "flags": 1})
        await outcome(client, job)
        await instance.sleep(1)
        return told, current["R"]["execution"]["expiration"], stored["R"]["execution"]["expiration"]

    told, current, stored = in_instance(test)
    assert told[1:] == [99.5, END]
    assert (told[0], current) == (stored, 99.5)


def test_who_follows_R_late_is_told_what_it_is_now_and_only_that():
    """The log is gone through from its beginning: older updates in it must not take the record back."""

    async def test(instance, client):
        job = await submit(client, jobspec(duration=10))
        await instance.sleep(1)
        machine = machine_of(instance)
        for expiration in (50.5, 99.5):
            machine.post(machine.jobs.get(job), "resource-update", {"expiration": expiration})
        await instance.sleep(1)
        told = []

        def answered(response, _arg):
            told.append(response.errnum or response.payload["R"]["execution"]["expiration"])

        wish = {"id": job, "key": "R", "flags": 0}
        client.stream("job-info.update-watch", wish, answered)
        await outcome(client, job)
        await instance.sleep(1)
        client.stream("job-info.update-watch", wish, answered)
        await instance.sleep(1)
        return told, (await client.call("job-info.update-lookup", wish))["R"]["execution"]["expiration"]

    assert in_instance(test) == ([99.5, END, 99.5, END], 99.5)


@pytest.mark.parametrize("what", ["update-watch", "update-lookup"])
def test_what_is_never_updated_is_not_followed_nor_are_there_flags(what):
    async def test(_instance, client):
        said = []
        for wish in ({"key": "J", "flags": 0}, {"key": "R", "flags": 499}):
            try:
                await client.call(f"job-info.{what}", {"id": 42, **wish})
            except RequestError as error:
                said.append((error.errno, error.text))
        return said

    assert in_instance(test) == [
        (errnums.EINVAL, f"{what} unsupported key specified: 'J'; there are R and jobspec"),
        (errnums.EPROTO, f"{what} request rejected with invalid flag"),
    ]


def test_a_guest_is_told_that_a_log_makes_no_sense():
    async def test(instance, client):
        guest = instance.client()
        guest.rolemask = 2
        said = []
        for log in (
            b"",
            b"foo\n",
            b'{"timestamp":1.0,"name":"submit"}\n',
            b'{"timestamp":1.0,"name":"submit","context":{}}\n',
        ):
            put = {"key": jobid.job_kvspath(7, "eventlog"), "flags": 0, "dirent": treeobj.val(log)}
            await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
            try:
                await guest.call("job-info.lookup", {"id": 7, "keys": ["R"], "flags": 0})
            except RequestError as error:
                said.append((error.errno, error.text))
        guest.close()
        return said

    assert in_instance(test) == [(errnums.EPROTO, "error parsing eventlog")] * 4


@pytest.mark.parametrize("flags", [0, 1])
def test_an_empty_log_is_none_and_does_not_keep_its_readers_waiting(flags):
    async def test(_instance, client):
        put = {"key": jobid.job_kvspath(7, "eventlog"), "flags": 0, "dirent": treeobj.val(b"")}
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
        return await stream(client, "job-info.eventlog-watch", {"id": 7, "path": "eventlog", "flags": flags})

    assert in_instance(test) == ([], errnums.EINVAL)


PATHS = st.lists(st.tuples(st.sampled_from(["a", "b", "a.x", "a.y", "c.d.e"]), st.integers()), max_size=8)


@given(PATHS)
def test_updates_apply_in_order_and_leave_the_record_as_it_was(updates):
    record = {"a": {"x": 0}, "b": 1}
    events = [{"name": "jobspec-update", "context": {path: value}} for path, value in updates]
    events.insert(len(events) // 2, {"name": "start"})
    model = {"a": {"x": 0}, "b": 1}
    try:
        for path, value in updates:
            *way, last = path.split(".")
            owner = model
            for part in way:
                owner = owner.setdefault(part, {})
            owner[last] = value
    except (AttributeError, TypeError):  # a path through a number
        with pytest.raises(ValueError, match="no object"):
            apply_updates("jobspec", record, events)
    else:
        assert apply_updates("jobspec", record, events) == model
    assert record == {"a": {"x": 0}, "b": 1}


def test_a_guest_log_that_never_comes_ends_the_watch_when_the_job_does():
    async def test(instance, client):
        job = await submit(client, jobspec(exec={"test": {"run_duration": "5s"}}, duration=0))
        await instance.sleep(1)
        ends = []
        for path in ("guest.nosuch", "guest.output"):
            wish = {"id": job, "path": path, "flags": 0}
            client.stream("job-info.eventlog-watch", wish, lambda response, _: ends.append(response.errnum))
        await instance.sleep(1)
        watched = await client.call("job-info.stats-get")
        await outcome(client, job)
        await instance.sleep(1)
        return (
            watched["guest_watchers"],
            sorted(set(ends)),
            (await client.call("job-info.stats-get"))["watchers"],
        )

    assert in_instance(test) == (3, [0, errnums.ENOENT, END], 0), "the shell follows guest.input"


def test_job_info_is_counted_and_reloaded_on_its_own():
    async def test(instance, client):
        before = instance.module(0, "job-manager").handle.counts[1]
        job = await submit(client)
        await outcome(client, job)
        for _ in range(3):
            await client.call("job-info.lookup", {"id": job, "keys": ["jobspec"], "flags": 0})
        during = instance.module(0, "job-info").handle.counts[1]
        await instance.remove("job-info")
        await instance.load("job-info")
        again = await client.call("job-info.lookup", {"id": job, "keys": ["jobspec"], "flags": 0})
        return (
            during >= 3,
            instance.module(0, "job-manager").handle.counts[1] - before < 10,
            again["id"] == job,
        )

    assert in_instance(test) == (True, True, True)


def test_an_empty_answer_tells_that_the_past_of_a_log_has_been_sent():
    async def test(_instance, client):
        told = []
        watch = {"id": 0, "path": "eventlog", "flags": 2}
        held = await submit(client, urgency=0)
        await client.sleep(1)

        def heard(response, _arg):
            empty = response.data is None
            told.append(response.errnum or ("" if empty else json.loads(response.payload["event"])["name"]))

        client.stream("job-info.eventlog-watch", {**watch, "id": held}, heard)
        await client.sleep(1)
        await client.call("job-manager.raise", {"id": held, "type": "cancel", "severity": 0})
        await outcome(client, held)
        await client.sleep(1)
        live, told[:] = list(told), []
        for path in ("eventlog", "guest.exec.eventlog"):
            job = await submit(client)
            await outcome(client, job)
            await client.sleep(1)
            client.stream("job-info.eventlog-watch", {"id": job, "path": path, "flags": 2}, heard)
            await client.sleep(1)
        return live, told

    live, past = in_instance(test)
    assert live == ["submit", "validate", "depend", "priority", "", "exception", "clean", END]
    ends = [past[at - 2 : at + 1] for at, one in enumerate(past) if one == END]
    assert ends == [["clean", "", END], ["done", "", END]]


@pytest.mark.parametrize(
    ("topic", "wish", "says"),
    [
        ("job-info.eventlog-watch", {"id": 1, "path": "eventlog", "flags": 499}, "invalid flag"),
        ("job-manager.events-journal", {"allow": 5}, "allow should be an object"),
        ("job-manager.events-journal", {"deny": 5}, "deny should be an object"),
        ("job-manager.events-journal", None, "the payload is an object"),
    ],
)
def test_a_stream_that_cannot_be_is_refused_in_words(topic, wish, says):
    async def test(_instance, client):
        texts = []
        client.stream(topic, wish, lambda response, _: texts.append((response.errnum, response.payload_str)))
        await client.sleep(0.1)
        return texts

    [(errnum, text)] = in_instance(test)
    assert errnum == errnums.EPROTO and says in text


def test_a_log_of_a_job_that_never_ran_ends_when_the_job_does():
    async def test(_instance, client):
        held = await submit(client, urgency=0)
        ends = []
        watch = {"id": held, "path": "guest.none", "flags": 1}
        client.stream("job-info.eventlog-watch", watch, lambda response, _: ends.append(response.errnum))
        await client.sleep(1)
        await client.call("job-manager.raise", {"id": held, "type": "cancel", "severity": 0})
        await outcome(client, held)
        await client.sleep(1)
        return ends

    assert in_instance(test) == [END]


def test_in_real_time_no_two_events_of_a_job_are_at_once():
    async def test(_instance, client):
        job = await submit(client)
        await outcome(client, job)
        return [event["timestamp"] for event in await log_of(client, job)]

    times = in_instance(test, clock="real*100")
    assert times == sorted(set(times)) and len(times) > 8
