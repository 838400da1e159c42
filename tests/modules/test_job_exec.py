"""The execution service: real commands and their end, signals, time limits, simulated output, records."""

from __future__ import annotations

import base64
import gc
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import trio

from brokersim.brokermod import RequestError
from tests.modules.job_harness import (
    attributes,
    in_instance,
    jobspec,
    log_of,
    names_of,
    outcome,
    real,
    submit,
)


def output_of(events, stream="stdout"):
    """The text of one stream."""
    data = [event["context"] for event in events if event["name"] == "data"]
    return "".join(one.get("data", "") for one in data if one["stream"] == stream)


async def run_job(client, spec):
    """(outcome, output events) of a job run to its end."""
    job = await submit(client, spec)
    answer = await outcome(client, job)
    return answer, await log_of(client, job, "guest.output")


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_a_real_command_leaves_its_output_and_exit_code(clock):
    async def test(_instance, client):
        return await run_job(client, real("sh", "-c", "echo out; echo err >&2; exit 3"))

    answer, events = in_instance(test, clock=clock)
    assert (answer["success"], answer["status"]) == (False, 3 << 8)
    assert answer["errstr"] == "task(s) exited with exit code 3"
    assert (output_of(events), output_of(events, "stderr")) == ("out\n", "err\n")
    assert [event["name"] for event in events[:1]] == ["header"]
    assert [event["context"].get("eof") for event in events[-2:]] == [True, True]


def test_an_ended_job_leaves_nothing_for_the_collector():
    def kept():
        kinds = ("JobRun", "Shell", "Stdin", "UpdateStream", "LogStream", "Follower", "Stepper")
        return Counter(type(one).__name__ for one in gc.get_objects() if type(one).__name__ in kinds)

    async def test(_instance, client):
        await run_job(client, jobspec())
        await client.sleep(1.0)  # the shell's own streams have ended as well
        gc.collect()
        before = kept()
        gc.disable()
        try:
            await run_job(client, jobspec())
            await client.sleep(1.0)
            return before, kept()
        finally:
            gc.enable()

    before, after = in_instance(test)
    assert after == before


def test_each_task_of_a_job_knows_its_rank_and_the_directory_and_environment_asked_for(tmp_path):
    async def test(_instance, client):
        show = "echo $FLUX_TASK_RANK/$FLUX_JOB_SIZE $COLOUR $(pwd)"
        environment = {"COLOUR": "blue", "PATH": os.environ["PATH"]}
        return await run_job(
            client, real("sh", "-c", show, slots=3, cwd=str(tmp_path), environment=environment)
        )

    answer, events = in_instance(test)
    assert answer["success"]
    assert sorted(output_of(events).splitlines()) == [f"{rank}/3 blue {tmp_path}" for rank in range(3)]


@pytest.mark.parametrize(
    ("words", "cwd", "code", "says"),
    [
        (("/nowhere/command",), None, 127, "/nowhere/command: No such file or directory"),
        (("/etc/passwd",), None, 126, "/etc/passwd: Permission denied"),
        (("true",), "/nowhere", 127, "No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_started_is_a_failed_job_that_says_why(words, cwd, code, says):
    async def test(_instance, client):
        return await run_job(client, real(*words, cwd=cwd) if cwd else real(*words))

    answer, events = in_instance(test)
    assert answer["status"] == code << 8
    assert says in output_of(events, "stderr")


def test_output_that_is_no_text_is_kept_as_base64():
    async def test(_instance, client):
        return await run_job(client, real("printf", r"\377\001"))

    _, events = in_instance(test)
    [data] = [event["context"] for event in events if "data" in event["context"]]
    assert (data["data"], data["encoding"]) == ("/wE=", "base64")


def test_much_output_is_kept_whole_while_the_command_is_held_back():
    async def test(_instance, client):
        return await run_job(client, real("sh", "-c", "yes 0123456789 | head -c 3000000"))

    answer, events = in_instance(test)
    assert answer["success"]
    assert len(output_of(events)) == 3_000_000


async def started_with(client, text, job):
    """Wait until a job has written ``text``."""
    with trio.fail_after(10):
        while True:
            await trio.sleep(0.02)
            try:
                look = {"key": "output", "namespace": f"job-{job}", "flags": 0}
                answer = await client.call("kvs.lookup", look)
            except RequestError:
                continue  # neither namespace nor log yet
            if text in base64.b64decode(answer["val"]["data"]).decode():
                return


def test_cancel_ends_a_real_command_and_what_it_started(tmp_path):
    async def test(_instance, client):
        note = tmp_path / "pids"
        job = await submit(client, real("sh", "-c", f"sleep 100 & echo $! $$ > {note}; echo up; wait"))
        await started_with(client, "up", job)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return await outcome(client, job), [int(pid) for pid in note.read_text().split()]

    answer, pids = in_instance(test, clock="real")
    assert answer["errstr"] == "Fatal exception type=cancel"
    assert answer["status"] == signal.SIGTERM
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_a_command_that_ignores_sigterm_is_killed_after_the_kill_timeout():
    async def test(instance, client):
        await instance.remove("job-exec")
        await instance.load("job-exec", "kill-timeout=100ms")
        job = await submit(client, real("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
        await started_with(client, "up", job)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return (await outcome(client, job))["status"]

    assert in_instance(test, clock="real") == signal.SIGKILL


def test_a_signal_reaches_the_command():
    async def test(_instance, client):
        job = await submit(
            client, real("sh", "-c", "trap 'exit 7' USR1; echo up; while :; do sleep 0.02; done")
        )
        await started_with(client, "up", job)
        await client.call("job-manager.kill", {"id": job, "signum": int(signal.SIGUSR1)})
        return (await outcome(client, job))["status"]

    assert in_instance(test, clock="real") == 7 << 8


def test_a_real_command_beyond_its_time_limit_gets_a_timeout_exception():
    async def test(_instance, client):
        job = await submit(client, real("sleep", "60", duration=0.2))
        answer = await outcome(client, job)
        return answer, (await attributes(client, job))["result"]

    answer, result = in_instance(test, clock="real")
    assert answer["errstr"] == "Fatal exception type=timeout resource allocation expired"
    assert (answer["status"], result) == (signal.SIGALRM, 8)


def test_unloading_the_service_kills_its_commands_and_ends_their_jobs(tmp_path):
    async def test(instance, client):
        note = tmp_path / "pid"
        job = await submit(client, real("sh", "-c", f"echo $$ > {note}; echo up; sleep 100"))
        await started_with(client, "up", job)
        await instance.remove("job-exec")
        return await outcome(client, job), int(note.read_text())

    answer, pid = in_instance(test, clock="real")
    assert "type=exec" in answer["errstr"]
    assert not Path(f"/proc/{pid}").exists()


def test_a_simulated_job_reports_the_status_and_exceptions_its_test_keys_ask_for():
    async def test(_instance, client):
        answers = []
        for keys in ({"wait_status": 512}, {"mock_exception": "init"}, {"mock_exception": "run"}):
            job = await submit(client, jobspec(duration=9, exec={"test": {"run_duration": "1s", **keys}}))
            answers.append((await outcome(client, job), await names_of(client, job)))
        return answers, (await client.call("sched.stats-get"))["cores"]["allocated"]

    [(status, _), (init, init_names), (run_, _)], allocated = in_instance(test)
    assert status["status"] == 512
    assert "mock initialization exception" in init["errstr"]
    assert (init["status"], "start" in init_names) == (-1, False)
    assert "mock run exception" in run_["errstr"]
    assert allocated == 0


def test_a_simulated_job_is_ended_by_its_limit_and_by_a_signal():
    async def test(instance, client):
        limited = await submit(client, jobspec(duration=5, exec={"test": {"run_duration": "1h"}}))
        signalled = await submit(client, jobspec(duration=3600))
        await instance.sleep(1)
        await client.call("job-manager.kill", {"id": signalled, "signum": 9})
        return [await outcome(client, job) for job in (limited, signalled)], client.now()

    (limited, signalled), now = in_instance(test)
    assert limited["errstr"].startswith("Fatal exception type=timeout")
    assert (signalled["status"], signalled["errstr"]) == (9, "task(s) killed by signal 9")
    assert now < 10


def test_an_output_rate_appends_that_many_lines_and_each_costs_one_commit_of_two_stores():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=3600, brokersim={"output_rate": 1.55}))
        await instance.sleep(10)
        kvs = instance.module(0, "kvs").handle
        before = list(kvs.counts)
        await instance.sleep(1000)
        moved = [after - start for after, start in zip(kvs.counts, before, strict=True)]
        await client.call("job-manager.raise", {"id": job, "type": "cancel"})
        await outcome(client, job)
        return moved, output_of(await log_of(client, job, "guest.output")).count("\n")

    (request_tx, request_rx, response_tx, response_rx, event_tx, event_rx, *_), lines = in_instance(test)
    assert event_tx == pytest.approx(1550, abs=1)
    assert (event_rx, request_rx, response_tx) == (event_tx, event_tx, event_tx)
    assert (request_tx, response_rx) == (2 * event_tx, 2 * event_tx)
    assert lines == pytest.approx(1.55 * 1010, abs=2)


def test_jobspec_attributes_that_cannot_be_used_fail_the_job_in_words():
    async def test(_instance, client):
        job = await submit(client, jobspec(exec={"test": {"run_duration": "soon"}}))
        return await outcome(client, job)

    assert "type=exec jobspec: not a duration: 'soon'" in in_instance(test)["errstr"]


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_a_job_whose_records_cannot_be_written_fails_and_gives_back_its_resources(kind):
    async def test(instance, client):
        spec = (
            jobspec(duration=1)
            if kind == "simulated"
            else real("sh", "-c", "sleep 0.3; echo too late; sleep 60")
        )
        job = await submit(client, spec)
        await instance.sleep(0.1)
        await client.call("kvs.namespace-remove", {"namespace": f"job-{job}"}, nodeid=0)
        answer = await outcome(client, job)
        allocated = (await client.call("sched.stats-get"))["cores"]["allocated"]
        again = await submit(client)
        return answer, allocated, (await outcome(client, again))["success"]

    answer, allocated, works = in_instance(test, clock="virtual" if kind == "simulated" else "real")
    assert "type=exec execution:" in answer["errstr"]
    assert (allocated, works) == (0, True)


def test_a_job_cancelled_while_its_shell_comes_up_ends_as_killed():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=100))
        await instance.sleep(0.008)
        await client.call("job-manager.raise", {"id": job, "type": "cancel"})
        return await outcome(client, job), await names_of(client, job, "guest.exec.eventlog")

    answer, names = in_instance(test)
    assert (answer["status"], names[-1]) == (signal.SIGTERM, "done")
