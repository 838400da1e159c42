"""Jobs through all real modules: the states they pass, what people do to them, what is refused."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError, errnums, jobid, treeobj
from tests.modules.job_harness import (
    END,
    JOB_MODULES,
    attributes,
    envelope,
    in_instance,
    jobspec,
    log_of,
    names_of,
    outcome,
    stream,
    submit,
)

LIFE = ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]
EXEC = ["init", "starting", "shell.init", "shell.start", "shell.task-exit", "shell-exit", "complete", "done"]


def test_a_job_passes_every_state_and_leaves_the_logs_flux_leaves():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=0, exec={"test": {"run_duration": "2s"}}))
        watched = await names_of(client, job)
        stored = await client.call("job-info.lookup", {"id": job, "keys": ["eventlog"], "flags": 0})
        guest = await names_of(client, job, "guest.exec.eventlog")
        return watched, stored["eventlog"].count("\n"), guest, await log_of(client, job, "guest.output")

    watched, lines, guest, output = in_instance(test)
    assert (watched, lines, guest) == (LIFE, len(LIFE), EXEC)
    assert [event["name"] for event in output] == ["header", "data", "data"]
    assert [event["context"] for event in output[1:]] == [
        {"stream": "stdout", "rank": "0", "eof": True},
        {"stream": "stderr", "rank": "0", "eof": True},
    ]


def test_the_log_of_a_job_with_flag_debug_tells_what_was_asked_for_it_also_before_it_is_answered():
    async def test(instance, client):
        await client.call("module.debug", {"name": "sched", "defer": True})
        job = await submit(client, flags=2)
        stuck = []
        asked = {"id": job, "path": "eventlog", "flags": 0}
        client.stream("job-info.eventlog-watch", asked, lambda response, _: stuck.append(response.data))
        await instance.sleep(10)
        last = stuck[-1]["event"]
        await client.call("module.debug", {"name": "sched", "defer": False})
        return "debug.alloc-request" in last, await names_of(client, job)

    asked = [*LIFE[:4], "debug.alloc-request", "alloc", "debug.start-request", *LIFE[5:]]
    assert in_instance(test) == (True, asked)


def test_a_cancelled_job_does_not_wait_for_a_scheduler_that_is_slow_and_what_that_gives_it_comes_back():
    async def test(instance, client):
        await client.call("module.debug", {"name": "sched", "defer": True})
        job = await submit(client, jobspec(cores=4))
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        ended = await names_of(client, job)
        await client.call("module.debug", {"name": "sched", "defer": False})
        after = await submit(client, jobspec(cores=4))
        return ended, (await outcome(client, after))["success"]

    ended, success = in_instance(test)
    assert (ended, success) == ([*LIFE[:4], "exception", "clean"], True)


def test_starting_is_delivered_after_shell_init_but_bears_an_earlier_time():
    async def test(_instance, client):
        job = await submit(client)
        return await log_of(client, job, "guest.exec.eventlog")

    times = {event["name"]: event["timestamp"] for event in in_instance(test)}
    assert times["starting"] < times["shell.init"]


def test_a_simulated_job_runs_as_long_as_it_says():
    async def test(_instance, client):
        job = await submit(client, jobspec(duration=100.25))
        answer = await outcome(client, job)
        shown = await attributes(client, job)
        return answer, shown["t_cleanup"] - shown["t_run"]

    answer, seconds = in_instance(test)
    assert answer["success"]
    assert (answer["errstr"], answer["status"]) == ("", 0)
    assert seconds == pytest.approx(100.25 + 0.017, abs=1e-6)  # and the shell's own time


def test_the_states_sum_to_the_jobs_submitted_whenever_one_looks():
    async def test(instance, client):
        for number in range(20):
            await submit(client, jobspec(slots=1 + number % 4, duration=0.01 * (number % 7)))
        sums, seen = [], set()
        while True:
            stats = await client.call("job-manager.stats-get")
            sums.append(sum(stats["states"].values()) == stats["submitted"] == 20)
            seen |= {state for state, count in stats["states"].items() if count}
            if stats["states"]["INACTIVE"] == 20:
                return all(sums), seen
            await instance.sleep(0.002)

    assert in_instance(test) == (True, {"SCHED", "RUN", "INACTIVE"})


def test_no_more_jobs_run_than_there_are_cores_and_all_get_their_turn():
    async def test(instance, client):
        jobs = [await submit(client, jobspec(duration=1)) for _ in range(10)]
        most = 0
        for _ in range(60):
            stats = await client.call("sched.stats-get")
            most = max(most, stats["cores"]["allocated"])
            await instance.sleep(0.1)
        return most, [(await outcome(client, job))["success"] for job in jobs]

    assert in_instance(test) == (4, [True] * 10)


def test_urgency_decides_the_order_and_0_holds_a_job():
    async def test(instance, client):
        blocker = await submit(client, jobspec(slots=4, duration=1))
        low = await submit(client, jobspec(slots=4, duration=1), urgency=5)
        high = await submit(client, jobspec(slots=4, duration=1), urgency=31)
        held = await submit(client, jobspec(slots=4, duration=1), urgency=0)
        await instance.sleep(30)
        state = (await attributes(client, held))["state"]
        assert await client.call("job-manager.urgency", {"id": held, "urgency": 16}) == {"old_urgency": 0}
        await outcome(client, held)
        started = [(await attributes(client, job))["t_run"] for job in (blocker, high, low, held)]
        return state, started == sorted(started), await names_of(client, held)

    state, in_order, names = in_instance(test)
    assert (state, in_order) == (8, True)
    assert names == [*LIFE[:4], "urgency", "priority", *LIFE[4:]]


def test_a_waiting_job_that_is_held_gives_up_its_place_and_can_be_released():
    async def test(instance, client):
        blocker = await submit(client, jobspec(slots=4, duration=5))
        waits = await submit(client, jobspec(slots=4, duration=1))
        await instance.sleep(1)
        await client.call("job-manager.urgency", {"id": waits, "urgency": 0})
        await outcome(client, blocker)
        await instance.sleep(5)
        held = (await attributes(client, waits))["state"]
        await client.call("job-manager.urgency", {"id": waits, "urgency": 16})
        return held, (await outcome(client, waits))["success"]

    assert in_instance(test) == (8, True)


def test_a_running_job_is_cancelled_and_gives_back_its_resources():
    async def test(instance, client):
        job = await submit(client, jobspec(slots=4, duration=3600))
        await instance.sleep(1)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0, "note": "enough"})
        answer = await outcome(client, job)
        after = (await client.call("sched.stats-get"))["cores"]["allocated"]
        return (
            answer,
            (await attributes(client, job))["result"],
            after,
            await names_of(client, job),
            client.now(),
        )

    answer, result, allocated, names, now = in_instance(test)
    assert (answer["success"], answer["errstr"]) == (False, "Fatal exception type=cancel enough")
    assert (result, allocated) == (4, 0)
    assert names == [*LIFE[:6], "exception", *LIFE[6:]]
    assert now < 5


def test_a_waiting_job_is_cancelled_without_ever_running():
    async def test(instance, client):
        await submit(client, jobspec(slots=4, duration=10))
        waits = await submit(client, jobspec(slots=4))
        await instance.sleep(1)
        await client.call("job-manager.raise", {"id": waits, "type": "cancel", "severity": 0})
        answer = await outcome(client, waits)
        waiting = (await client.call("sched.stats-get"))["jobs"]["waiting"]
        return answer["status"], waiting, await names_of(client, waits)

    assert in_instance(test) == (-1, 0, [*LIFE[:4], "exception", "clean"])


def test_an_exception_of_another_severity_is_a_remark():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=2))
        await instance.sleep(1)
        await client.call("job-manager.raise", {"id": job, "type": "remark", "severity": 3})
        return (await outcome(client, job))["success"]

    assert in_instance(test) is True


def test_a_job_that_can_never_run_ends_with_the_schedulers_reason():
    async def test(_instance, client):
        job = await submit(client, jobspec(slots=99))
        return await outcome(client, job)

    answer = in_instance(test)
    assert not answer["success"]
    assert "type=alloc unsatisfiable request: 99 slots of 1 cores" in answer["errstr"]


@pytest.mark.parametrize(
    ("scheme", "status", "fate"),
    [
        ("afterok", 0, "runs"), ("afterok", 256, "fails"), ("afternotok", 256, "runs"), ("afternotok", 0, "fails"),
        ("afterany", 256, "runs"), ("after", 0, "runs"), ("afterstart", 0, "runs"),
    ],
)  # fmt: skip
def test_a_dependency_is_met_or_ends_the_job(scheme, status, fate):
    async def test(_instance, client):
        test_keys = {"test": {"run_duration": "5s", "wait_status": status}}
        first = await submit(client, jobspec(duration=0, exec=test_keys))
        dependency = [{"scheme": scheme, "value": jobid.encode(first)}]
        second = await submit(client, jobspec(dependencies=dependency))
        answer = await outcome(client, second)
        ran = (await attributes(client, second)).get("t_run", 0.0)
        ended = (await attributes(client, first)).get("t_inactive", 0.0)
        return answer, ran, ended, await names_of(client, second)

    answer, ran, ended, names = in_instance(test)
    if fate == "fails":
        assert "type=dependency" in answer["errstr"]
        assert names == ["submit", "dependency-add", "validate", "exception", "clean"]
        return
    if scheme == "after":  # it is told to call it afterstart
        names.remove("exception")
    assert answer["success"]
    assert names == ["submit", "dependency-add", "validate", "dependency-remove", *LIFE[2:]]
    assert (ran >= ended > 0) == (scheme not in ("after", "afterstart")), "the others wait for the end"


def test_a_long_chain_of_failing_dependants_falls_without_falling_over():
    async def test(_instance, client):
        first = last = await submit(client, jobspec(duration=500, exec={"test": {"wait_status": 256}}))
        for _ in range(400):
            last = await submit(client, jobspec(dependencies=[{"scheme": "afterok", "value": str(last)}]))
        await outcome(client, first)
        return await outcome(client, last)

    assert "type=dependency" in in_instance(test)["errstr"]


def test_begin_time_holds_a_job_until_then():
    async def test(_instance, client):
        begin = client.time() + 500
        job = await submit(client, jobspec(dependencies=[{"scheme": "begin-time", "value": begin}]))
        await outcome(client, job)
        return (await attributes(client, job))["t_run"] - begin

    assert 0 <= in_instance(test) < 0.1


def test_drain_is_answered_when_the_last_job_is_done():
    async def test(_instance, client):
        jobs = [await submit(client, jobspec(duration=seconds)) for seconds in (1, 7)]
        await client.call("job-manager.drain")
        assert client.now() > 7
        await client.call("job-manager.drain")
        return [(await attributes(client, job))["state"] for job in jobs]

    assert in_instance(test) == [64, 64]


def test_a_stopped_queue_holds_jobs_and_a_disabled_one_refuses_them():
    async def test(instance, client):
        blocker = await submit(client, jobspec(slots=4, duration=1))
        waiting = await submit(client, jobspec(slots=4, duration=1))
        await instance.sleep(0.5)
        await client.call("job-manager.queue-start", {"start": False, "reason": "noon"})
        await outcome(client, blocker)
        late = await submit(client, jobspec())
        await instance.sleep(5)
        states = [(await attributes(client, job))["state"] for job in (waiting, late)]
        status = await client.call("job-manager.queue-status")
        await client.call("job-manager.queue-start", {"start": True})
        for job in (waiting, late):
            assert (await outcome(client, job))["success"]
        await client.call("job-manager.queue-enable", {"enable": False, "reason": "closed"})
        with pytest.raises(RequestError) as refused:
            await submit(client)
        return states, status, refused.value

    states, status, error = in_instance(test)
    assert states == [8, 8]
    assert status == {"enable": True, "start": False, "stop_reason": "noon"}
    assert (error.errno, error.text) == (errnums.EINVAL, "job submission is disabled: closed")


def test_the_journal_tells_the_past_of_active_jobs_and_then_everything():
    async def test(instance, client):
        first = await submit(client, jobspec(duration=5))
        await instance.sleep(1)
        heard = []
        client.stream("job-manager.events-journal", {}, lambda response, _: heard.append(response.payload))
        await instance.sleep(0.1)
        second = await submit(client, jobspec())
        await outcome(client, second)
        await outcome(client, first)
        return first, second, heard

    first, second, heard = in_instance(test)
    assert heard[0]["id"] == first
    assert [event["name"] for event in heard[0]["events"]] == LIFE[:6]
    assert heard[1] == {"id": -1, "events": []}, "what reads it in C takes no number above 2^63"
    told = [event["name"] for entry in heard[2:] if entry["id"] == second for event in entry["events"]]
    assert told == [*LIFE[:4], "annotations", *LIFE[4:]], (
        "the scheduler's own word is told, but kept in alloc only"
    )
    [submitted] = [entry for entry in heard if entry["id"] == second and "jobspec" in entry]
    assert submitted["jobspec"]["version"] == 1
    [allocated] = [entry for entry in heard[2:] if "R" in entry]
    assert allocated["id"] == second


@pytest.mark.parametrize(
    ("topic", "payload", "errnum", "says"),
    [
        ("job-ingest.submit", {"J": "x"}, errnums.EINVAL, "HEADER.PAYLOAD.SIGNATURE"),
        ("job-ingest.submit", {"J": envelope(b"{")}, errnums.EINVAL, "not JSON"),
        ("job-ingest.submit", {"J": envelope(jobspec()), "urgency": 32}, errnums.EINVAL, "urgency range is [0:31]"),
        ("job-ingest.submit", {"J": envelope(jobspec(), userid=4711)}, errnums.EINVAL, "signed by user 4711"),
        ("job-ingest.submit", {}, errnums.EPROTO, "J"),
        ("job-ingest.submit", {"J": envelope(jobspec(dependencies=[{"scheme": "afterok", "value": "ƒ9"}]))},
         errnums.EINVAL, "dependency: afterok: id ƒ9: job not found"),
        ("job-manager.raise", {"id": 5, "type": "cancel"}, errnums.EPROTO, "severity"),
        ("job-manager.raise", {"id": 5, "type": "cancel", "severity": 0}, errnums.ENOENT, "unknown job id"),
        ("job-manager.raise", {"id": 5, "type": "cancel", "severity": 9}, errnums.EPROTO, "invalid exception severity"),
        ("job-manager.raise", {"id": 5, "type": "a b", "severity": 0}, errnums.EPROTO, "invalid exception type"),
        ("job-manager.wait", {"id": 5}, 10, "invalid job id, or job may be inactive and not waitable"),
        ("job-manager.wait", {"id": 5, "claim": False}, errnums.ENOENT, "unknown job id"),
        ("job-manager.wait", {}, errnums.EPROTO, "id"),
        ("job-manager.urgency", {"id": 5, "urgency": 99}, errnums.EINVAL, "urgency value is out of range"),
        ("job-manager.urgency", {"id": 5, "urgency": -1}, errnums.EINVAL, "urgency value is out of range"),
        ("job-manager.urgency", {"id": 5, "urgency": 1}, errnums.EINVAL, "unknown job"),
        ("job-manager.kill", {"id": 5, "signum": 0}, errnums.EINVAL, "Invalid signal number"),
        ("job-list.list", {"attrs": []}, errnums.EPROTO, "max_entries"),
        ("job-list.list", {"max_entries": 0, "attrs": ["colour"]}, errnums.EINVAL, "colour is not a valid attribute"),
        ("job-list.list-id", {"id": 5, "attrs": []}, errnums.ENOENT, "unknown job id"),
        ("job-list.list-id", {"id": 5, "attrs": [], "state": 4096}, errnums.EPROTO, "invalid state specified"),
        ("job-info.lookup", {"id": 5, "keys": ["jobspec"]}, errnums.ENOENT, "invalid job id: there is no job ƒ6"),
        ("job-info.lookup", {"id": -5, "keys": ["R"]}, errnums.EINVAL, "not a job id"),
        ("job-info.eventlog-watch", {"id": 5, "path": "eventlog"}, errnums.EPROTO, "must be a streaming request"),
        ("job-manager.nosuch", {}, errnums.ENOSYS, "Unknown service method"),
        ("job-manager.submit", {"jobs": [{"id": 3}]}, errnums.EPROTO, "jobspec"),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_its_answer_and_harms_nothing(topic, payload, errnum, says):
    async def test(_instance, client):
        with pytest.raises(RequestError) as refused:
            await client.call(topic, payload)
        job = await submit(client)
        return refused.value, (await outcome(client, job))["success"]

    error, still_works = in_instance(test)
    assert (error.errno, still_works) == (errnum, True)
    assert says in error.text


def test_an_inactive_job_cannot_be_cancelled_or_signalled():
    async def test(_instance, client):
        job = await submit(client)
        await outcome(client, job)
        texts = []
        for topic, more in (
            ("raise", {"type": "cancel", "severity": 0}),
            ("kill", {"signum": 15}),
            ("urgency", {"urgency": 1}),
        ):
            with pytest.raises(RequestError) as refused:
                await client.call(f"job-manager.{topic}", {"id": job, **more})
            texts.append((refused.value.errno, refused.value.text))
        return texts

    inactive = "job is inactive"
    assert in_instance(test) == [
        (errnums.ENOENT, inactive),
        (errnums.EINVAL, inactive),
        (errnums.EINVAL, inactive),
    ]


def test_watching_a_job_that_is_not_there_ends_at_once():
    async def test(_instance, client):
        return [
            (await stream(client, "job-info.eventlog-watch", {"id": 7, "path": path, "flags": 0}))[1]
            for path in ("eventlog", "guest.output")
        ]

    assert in_instance(test) == [errnums.ENOENT, errnums.ENOENT]


def test_a_line_that_is_no_event_ends_the_watch_that_waits_for_the_start_and_nothing_else():
    async def test(instance, client):
        job = await submit(client, urgency=0)  # held: it doesn't start
        ends = []
        client.stream(
            "job-info.eventlog-watch",
            {"id": job, "path": "guest.exec.eventlog"},
            lambda response, _: ends.append(response.errnum),
        )
        await instance.sleep(1)
        op = {"key": jobid.job_kvspath(job, "eventlog"), "flags": 32, "dirent": treeobj.val(b"no event\n")}
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [op]})
        await instance.sleep(1)
        await client.call("job-manager.urgency", {"id": job, "urgency": 16})
        return ends, await outcome(client, job)

    ends, answer = in_instance(test)
    assert ends == [errnums.EPROTO]
    assert answer["success"]


def test_a_watch_ends_when_it_is_cancelled_and_when_its_client_goes():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=100))
        ends = []
        request = client.stream(
            "job-info.eventlog-watch",
            {"id": job, "path": "eventlog"},
            lambda response, _: ends.append(response.errnum),
        )
        other = instance.client(name="other")
        for path in ("eventlog", "guest.exec.eventlog"):
            other.stream("job-info.eventlog-watch", {"id": job, "path": path}, lambda *_: None)
        await instance.sleep(1)
        open_ = [(await client.call("job-info.stats-get"))["watchers"]]
        client.request("job-info.eventlog-watch-cancel", {"matchtag": request.matchtag})
        other.close()
        await instance.sleep(1)
        open_.append((await client.call("job-info.stats-get"))["watchers"])
        return open_, ends[-1]

    open_, last = in_instance(test)
    assert last == END
    assert open_[0] - open_[1] == 3


@pytest.mark.parametrize("wait", [0.0, 0.03, 3.0])
def test_a_guest_log_is_whole_whenever_one_begins_to_watch(wait):
    async def test(instance, client):
        job = await submit(client, jobspec(duration=1))
        await instance.sleep(wait)
        return await names_of(client, job, "guest.exec.eventlog")

    assert in_instance(test) == EXEC


def test_a_job_is_listed_as_flux_lists_it():
    async def test(_instance, client):
        first, second = [await submit(client, jobspec(duration=seconds)) for seconds in (1, 100)]
        await outcome(client, first)
        ask = {
            "max_entries": 0,
            "attrs": ["name", "state"],
            "constraint": {"and": [{"userid": [0xFFFFFFFF]}, {"states": [126]}]},
        }
        answers, errnum = await stream(client, "job-list.list", ask)
        at_once = await client.call("job-list.list", ask)
        none, ended = await stream(client, "job-list.list", {**ask, "constraint": {"states": [1]}})
        return (first, second), answers, errnum, at_once, none, ended

    (first, second), answers, errnum, at_once, none, ended = in_instance(test)
    shown = [{"id": second, "name": "true", "state": 16}, {"id": first, "name": "true", "state": 64}]
    assert answers == [{"version": 1, "jobs": [shown[0]]}, {"jobs": [shown[1]]}]
    assert (errnum, at_once, none, ended) == (END, {"jobs": shown}, [], END)


def test_records_are_looked_up_as_text_or_decoded():
    async def test(_instance, client):
        job = await submit(client, jobspec("date", duration=1))
        await outcome(client, job)
        text = await client.call("job-info.lookup", {"id": job, "keys": ["jobspec", "J"], "flags": 0})
        decoded = await client.call("job-info.lookup", {"id": job, "keys": ["jobspec", "R"], "flags": 3})
        return text, decoded

    text, decoded = in_instance(test)
    assert '"command":["date"]' in text["jobspec"]
    assert text["J"].endswith(".none")
    assert decoded["jobspec"]["tasks"][0]["command"] == ["date"]
    assert decoded["R"]["version"] == 1


def test_events_of_strangers_do_not_end_the_modules():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=5))
        client.stream("job-info.eventlog-watch", {"id": job, "path": "eventlog"}, lambda *_: None)
        await instance.sleep(0.1)
        for topic, payload in (
            ("job-exception", {"id": "x"}), ("job-exception", None), ("kvs.namespace-primary-setroot", {"keys": 3}),
            ("kvs.namespace-primary-setroot", None), ("kvs.namespace-", {}),
        ):  # fmt: skip
            client.publish(topic, payload)
        return (await outcome(client, job))["success"]

    assert in_instance(test, modules=JOB_MODULES)
