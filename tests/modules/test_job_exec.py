"""The execution service: real commands and their end, signals, time limits, simulated output, records."""

from __future__ import annotations

import base64
import gc
import os
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from brokersim.brokermod import RequestError, errnums, jobid, treeobj
from modules.job_exec.limit import TimeLimit
from modules.job_exec.run import TOGETHER, JobRun
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
        kinds = (
            "JobRun",
            "Shell",
            "Stdin",
            "Intake",
            "TimeLimit",
            "UpdateStream",
            "LogStream",
            "Follower",
            "Stepper",
        )
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
    ("words", "code", "says"),
    [
        (("/nowhere/command",), 127, "/nowhere/command: No such file or directory"),
        (("/etc/passwd",), 126, "/etc/passwd: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_started_is_a_failed_job_that_says_why(words, code, says):
    async def test(_instance, client):
        job = await submit(client, real(*words))
        answer = await outcome(client, job)
        return (
            answer,
            await log_of(client, job, "guest.output"),
            await names_of(client, job, "guest.exec.eventlog"),
        )

    answer, output, events = in_instance(test)
    note = f"task 0 (host {os.uname().nodename}): start failed: {says}"
    assert answer["status"] == code << 8
    assert answer["errstr"] == f"Fatal exception type=exec {note}"
    assert [(one["name"], one["context"].get("message")) for one in output] == [
        ("header", None),
        ("log", note),
    ]
    assert events == ["init", "starting", "shell.init", "shell-exit", "complete", "done"]


def test_a_command_whose_directory_is_not_there_runs_elsewhere_and_is_told():
    async def test(_instance, client):
        return await run_job(client, real("pwd", cwd="/nowhere"))

    answer, events = in_instance(test)
    assert answer["success"]
    assert output_of(events) == "/tmp\n"
    assert events[1]["context"]["message"] == (
        f"host {os.uname().nodename}: Could not change dir to /nowhere: No such file or directory. "
        "Going to /tmp instead"
    )


@pytest.mark.parametrize(
    ("settings", "asked", "is_run"),
    [
        ({"clock": "real"}, {}, True),
        ({"clock": "virtual"}, {}, False),
        ({"clock": "virtual"}, {"brokersim": {"exec": True}}, True),
        ({"clock": "virtual", "jobs": "real"}, {}, True),
        ({"clock": "real", "jobs": "simulated"}, {}, False),
        ({"clock": "real"}, {"exec": {"test": {"run_duration": "1ms"}}}, False),
        ({"clock": "real"}, {"brokersim": {"exec": False}}, False),
    ],
)
def test_a_job_runs_its_command_unless_it_or_the_clock_or_the_instance_says_otherwise(
    settings, asked, is_run
):
    async def test(_instance, client):
        return await run_job(client, jobspec("echo", "ran", duration=0, **asked))

    answer, events = in_instance(test, **{"jobs": "", **settings})
    assert answer["success"]
    assert output_of(events) == ("ran\n" if is_run else "")
    why = "virtual clock" if settings["clock"] == "virtual" else "--jobs simulated"
    note = (
        "" if is_run or asked else f"brokersim: echo is simulated ({why}); start --jobs real runs commands\n"
    )
    assert output_of(events, "stderr") == note, (
        "only a job that did not ask for it is told that it is simulated"
    )


def with_output(tmp_path, **options):
    """The system attributes that make output go to files."""
    return {"shell": {"options": {"output": options}}, "cwd": str(tmp_path)}


def test_output_goes_to_the_files_its_templates_name_and_the_log_says_where(tmp_path):
    async def test(_instance, client):
        both = {"type": "file", "path": f"{tmp_path}/{{{{name}}}}.{{{{id.dec}}}}.{{{{taskid}}}}.{{{{huh}}}}"}
        err = {"type": "file", "path": f"{tmp_path}/err.{{{{jobid}}}}", "label": True}
        show = "echo out $FLUX_TASK_RANK; echo err >&2"
        job = await submit(
            client, real("sh", "-c", show, slots=2, **with_output(tmp_path, stdout=both, stderr=err))
        )
        assert (await outcome(client, job))["success"]
        return job, await log_of(client, job, "guest.output")

    job, events = in_instance(test)
    files = {path.name: "".join(sorted(path.read_text().splitlines(True))) for path in tmp_path.iterdir()}
    assert files == {
        f"sh.{job}.0.{{{{huh}}}}": "out 0\n",
        f"sh.{job}.1.{{{{huh}}}}": "out 1\n",
        f"err.{jobid.encode(job)}": "0: err\n1: err\n",
    }
    assert [event["name"] for event in events] == ["header", "redirect", "redirect"]
    assert [event["context"]["rank"] for event in events[1:]] == ["[0-1]"] * 2


@pytest.mark.parametrize(("mode", "left"), [("truncate", "new\n"), ("append", "old\nnew\n")])
def test_an_output_file_is_emptied_first_unless_it_is_to_be_appended_to(tmp_path, mode, left):
    path = tmp_path / "log"
    path.write_text("old\n")

    async def test(_instance, client):
        target = {"type": "file", "path": str(path)}
        return await run_job(client, real("echo", "new", **with_output(tmp_path, stdout=target, mode=mode)))

    in_instance(test)
    assert path.read_text() == left


def test_an_output_file_that_cannot_be_made_ends_the_job_before_it_runs(tmp_path):
    async def test(_instance, client):
        target = {"type": "file", "path": "/nowhere/out"}
        job = await submit(client, real("touch", "ran", **with_output(tmp_path, stdout=target)))
        return await outcome(client, job), await log_of(client, job, "guest.output")

    answer, events = in_instance(test)
    assert answer["errstr"] == "Fatal exception type=exec shell_init: No such file or directory"
    assert answer["status"] == 1 << 8
    assert [event["context"]["message"] for event in events] == [
        "open: /nowhere/out: No such file or directory", "shell_init: No such file or directory",
    ]  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_standard_output_is_told_line_by_line_and_standard_error_at_once():
    async def test(_instance, client):
        return await run_job(
            client, real("sh", "-c", "printf 'a\\nb'; printf x >&2; sleep 0.05; echo c; echo y >&2")
        )

    _, events = in_instance(test, clock="real")
    data = [event["context"] for event in events if "data" in event["context"]]
    assert [one["data"] for one in data if one["stream"] == "stdout"] == ["a\n", "bc\n"]
    assert [one["data"] for one in data if one["stream"] == "stderr"] == ["x", "y\n"]


def test_a_task_finds_the_job_in_its_environment_and_the_records_do_not_keep_that():
    async def test(_instance, client):
        words = "$FLUX_JOB_ID $FLUX_KVS_NAMESPACE $SECRET $HOSTNAME"
        spec = real("sh", "-c", f"echo {words}", environment={"SECRET": "x", "HOSTNAME": "of.login.node"})
        job = await submit(client, spec)
        await outcome(client, job)
        kept = await client.call("job-info.lookup", {"id": job, "keys": ["jobspec"], "flags": 0})
        return job, output_of(await log_of(client, job, "guest.output")), kept["jobspec"]

    job, output, kept = in_instance(test)
    assert output == f"{jobid.encode(job)} job-{job} x {os.uname().nodename}\n"
    assert "environment" not in kept, "the environment is in J alone"


@pytest.mark.parametrize(
    ("options", "first", "says"),
    [
        ({"exit-on-error": 1}, "exit 3", "failed (Exit 3) and exit-on-error is set"),
        (
            {"exit-on-error": 1, "exit-timeout": "none"},
            "kill -9 $$",
            "failed (Killed) and exit-on-error is set",
        ),
        ({"exit-timeout": "20ms"}, "exit 3", "exited (Exit 3) and exit-timeout=20ms has expired"),
        (
            {"exit-on-error": 1, "exit-timeout": 0.02},
            "true",
            "exited (Exit 0) and exit-timeout=20ms has expired",
        ),
    ],
)
def test_when_one_task_has_ended_the_others_are_ended_as_the_shell_options_say(options, first, says):
    async def test(_instance, client):
        tasks = f"test $FLUX_TASK_RANK = 1 || exec sleep 1000; {first}"
        job = await submit(client, real("sh", "-c", tasks, slots=2, shell={"options": options}))
        ended = await outcome(client, job)
        logged = [
            one["context"]["message"]
            for one in await log_of(client, job, "guest.output")
            if one["name"] == "log"
        ]
        [finish] = [one["context"]["status"] for one in await log_of(client, job) if one["name"] == "finish"]
        return ended["success"], ended["errstr"], logged, finish

    note = f"sh: task rank 1 on host {os.uname().nodename} {says}"
    success, errstr, logged, status = in_instance(test, clock="real")
    assert (success, logged) == (False, [note]) and errstr.endswith(note)
    assert status == {"exit 3": 3 << 8, "true": 0, "kill -9 $$": 137 << 8}[first], (
        "not that of who was killed for it"
    )


@pytest.mark.parametrize(("timeout", "left"), [(0.0, TOGETHER), (30.0, 30.0)])
def test_tasks_that_end_together_are_not_killed_for_one_another(timeout, left):
    timers = []
    run = SimpleNamespace(
        plan=SimpleNamespace(exit_on_error=False, exit_timeout=timeout),
        _give_up=None,
        _later=lambda seconds, *what: timers.append((seconds, what[-1])),
    )
    JobRun._first_ended(run, 0, 0)
    assert timers == [(left, f"and exit-timeout={timeout:g}s has expired")]


def test_tasks_that_end_in_time_or_alone_have_nothing_to_fear_and_a_timeout_that_is_none_is_refused():
    async def test(_instance, client):
        specs = [
            real("sh", "-c", "exit 3", shell={"options": {"exit-on-error": 1, "exit-timeout": 0}}),
            real("true", slots=2, shell={"options": {"exit-on-error": 1}}),
            real("true", shell={"options": {"exit-timeout": "soon"}}),
        ]
        return [(await outcome(client, await submit(client, spec)))["errstr"] for spec in specs]

    alone, both, odd = in_instance(test)
    assert (alone, both) == ("task(s) exited with exit code 3", "") and "exit-timeout" in odd


@pytest.mark.parametrize("kind", [real, jobspec])
def test_a_job_whose_signed_jobspec_was_changed_in_the_kvs_fails_alone(kind):
    async def test(_instance, client):
        failed = []
        for damaged in (
            b"",
            b"a.b.c",
            b"a.!!.c",
            *(f"a.{base64.b64encode(one).decode()}.c".encode() for one in ODD),
        ):
            job = await submit(client, kind("true"), urgency=0)
            put = {"key": jobid.job_kvspath(job, "J"), "flags": 0, "dirent": treeobj.val(damaged)}
            await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
            await client.call("job-manager.urgency", {"id": job, "urgency": 16})
            failed.append((await outcome(client, job))["success"])
        return failed, (await outcome(client, await submit(client, kind("true"))))["success"]

    failed, after = in_instance(test)
    assert (failed[:4], after) == ([False] * 4, True)
    assert failed[4:] == ([False] * 2 if kind is real else [True] * 2), "a simulated job needs nothing of it"


#: What is no jobspec though it is JSON.
ODD = (b"[]", b"{}", b'{"version": 1, "attributes": {"system": 5}}')


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
    with trio.fail_after(60):
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
    assert answer["errstr"] == "Fatal exception type=cancel "
    assert answer["status"] == 128 + signal.SIGTERM << 8
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

    assert in_instance(test, clock="real") == 128 + signal.SIGKILL << 8


def test_a_job_gets_the_signals_that_are_configured_and_ends_whatever_they_do():
    async def test(_instance, client):
        table = {"exec": {"kill-timeout": "100ms", "term-signal": "SIGUSR1", "kill-signal": "10"}}
        await client.call("config.load", table)
        ends = []
        for trap in ("exit 7", "true"):
            job = await submit(
                client, real("sh", "-c", f"trap '{trap}' USR1; echo up; while :; do sleep 0.02; done")
            )
            await started_with(client, "up", job)
            await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
            ends.append((await outcome(client, job))["status"])
        return ends

    assert in_instance(test, clock="real") == [7 << 8, 128 + signal.SIGKILL << 8]


def test_arguments_come_before_the_configuration_and_both_are_shown():
    async def test(instance, client):
        async def shown():
            stats = await client.call("job-exec.stats-get")
            return [
                stats[name] for name in ("method", "kill-timeout", "term-signal", "kill-signal", "config")
            ]

        found = [await shown()]
        table = {
            "exec": {
                "kill-timeout": "30s",
                "kill-signal": "SIGINT",
                "imp": "/an/imp",
                "service": "sdexec",
                "shell-exit-timeout": "1m",
            }
        }
        await client.call("config.load", table)
        found.append(await shown())
        await instance.remove("job-exec")
        await instance.load("job-exec", "kill-timeout=1m", "method=bulk-exec", "job-shell=/a/shell")
        found.append(await shown())
        await client.call("config.load", {})
        return [*found, await shown()]

    ours = {"default_job_shell": "/a/shell", "exec_service": "rexec", "shell_exit_timeout": 30.0}
    given = {"shell_exit_timeout": 60.0, "flux_imp_path": "/an/imp", "exec_service": "sdexec"}
    assert in_instance(test) == [
        ["bulk-exec", 5.0, "SIGTERM", "SIGKILL", {**ours, "default_job_shell": "flux-shell"}],
        ["bulk-exec", 30.0, "SIGTERM", "SIGINT", {"default_job_shell": "flux-shell", **given}],
        ["bulk-exec", 60.0, "SIGTERM", "SIGINT", {**ours, **given}],
        ["bulk-exec", 60.0, "SIGTERM", "SIGKILL", ours],
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"kill-timeout": "1f"}, "invalid kill-timeout: 1f"),
        ({"kill-timeout": 5}, "error reading config value exec.kill-timeout: it is a text, not 5"),
        ({"kill-signal": "SIGFOO"}, "invalid kill-signal: SIGFOO; give a signal's name"),
        ({"term-signal": "-1"}, "invalid term-signal: -1"),
        ({"method": "wrong"}, "unknown exec.method 'wrong'; there is bulk-exec"),
        ({"imp": 42}, "error reading config value exec.imp"),
        (5, "exec is not a table"),
    ],
)
def test_a_table_exec_that_cannot_be_is_refused(table, says):
    async def test(_instance, client):
        with pytest.raises(RequestError, match=says) as error:
            await client.call("config.load", {"exec": table})
        return error.value.errno

    assert in_instance(test) == errnums.EINVAL


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
    assert (answer["status"], result) == (128 + signal.SIGALRM << 8, 8)


def test_a_client_that_asked_the_service_and_leaves_ends_no_job():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=10.0))
        await client.sleep(1.0)
        other = instance.client()
        running = (await other.call("job-exec.stats-get"))["running"]
        other.close()
        return running, await outcome(client, job)

    running, answer = in_instance(test)
    assert (running, answer["success"], answer["errstr"]) == (1, True, "")


def is_gone(pid):
    """It has ended; whoever inherited it may not have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_unloading_the_service_kills_its_commands_and_the_next_ends_their_jobs(tmp_path):
    async def test(instance, client):
        note = tmp_path / "pid"
        job = await submit(client, real("sh", "-c", f"echo $$ > {note}; echo up; sleep 100"))
        await started_with(client, "up", job)
        await instance.remove("job-exec")
        await instance.load("job-exec")
        return await outcome(client, job), int(note.read_text())

    answer, pid = in_instance(test, clock="real")
    assert "type=exec" in answer["errstr"]
    assert is_gone(pid)


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
    assert (signalled["status"], signalled["errstr"]) == (9, "job shell Killed")
    assert now < 10


def test_an_output_rate_appends_that_many_lines_and_each_costs_one_commit_of_two_stores():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=3600, brokersim={"output_rate": 1.55}))
        await instance.sleep(10)
        kvs = instance.module(0, "kvs").handle
        before = list(kvs.counts)
        await instance.sleep(1000)
        moved = [after - start for after, start in zip(kvs.counts, before, strict=True)]
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
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
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return await outcome(client, job), await names_of(client, job, "guest.exec.eventlog")

    answer, names = in_instance(test)
    assert (answer["status"], names[-1]) == (signal.SIGTERM, "done")


def test_while_jobs_run_under_one_service_another_that_starts_jobs_is_refused():
    async def test(instance, client):
        job = await submit(client, jobspec(duration=100))
        await instance.sleep(1)
        with pytest.raises(RequestError, match="jobs are running under job-exec") as caught:
            await client.call("job-manager.exec-hello", {"service": "other"})
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        await instance.sleep(1)
        await client.call("job-manager.exec-hello", {"service": "other"})
        return caught.value.errno

    assert in_instance(test, clock="virtual") == errnums.EINVAL


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("kill -9 $PPID; sleep 30", 9, "job shell Killed"),
        ("kill -9 $$", 137 << 8, "task(s) Killed"),
        ("kill -TERM $PPID; exit 3", 3 << 8, "task(s) exited with exit code 3"),
        ("exit 0", 0, ""),
    ],
)
def test_a_task_has_a_parent_of_its_own_which_it_may_kill(line, status, says):
    async def test(_instance, client):
        ended = await outcome(client, await submit(client, real("sh", "-c", line)))
        return ended["status"], ended["errstr"]

    assert in_instance(test) == (status, says)


def test_a_task_that_is_killed_is_so_and_its_shell_says_nothing():
    async def test(_instance, client):
        job = await submit(client, real("sh", "-c", "echo out; exec sleep 30"))
        await client.sleep(0.5)
        await client.call("job-manager.kill", {"id": job, "signum": 9})
        ended = await outcome(client, job)
        output = await log_of(client, job, "guest.output")
        return ended["status"], [one["context"]["data"] for one in output if "data" in one["context"]]

    status, output = in_instance(test, clock="real")
    assert (status, output) == (137 << 8, ["out\n"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"initrc": "/no/such"}, "shell option initrc: /no/such: No such file or directory"),
        ({"userrc": "/dev/null"}, "shell option userrc: /dev/null: shell plugins are not run here"),
        (
            {"stage-in": 1},
            "shell option stage-in: archives are not staged here; the job may run `flux archive extract`",
        ),
        (
            {"taskmap": {"scheme": "reverse", "value": ""}},
            "shell option taskmap: reverse; there are block, cyclic[:N], manual:MAP and hostfile:FILE",
        ),
        (
            {"taskmap": {"scheme": "block", "value": "2"}},
            "shell option taskmap: block:2; there are block, cyclic[:N], manual:MAP and hostfile:FILE",
        ),
        ({"taskmap": {"scheme": "block", "value": ""}, "pty": 0, "verbose": 0}, ""),
    ],
)
def test_a_shell_option_that_cannot_be_had_ends_the_job_in_words(options, says):
    async def test(_instance, client):
        job = await submit(client, real("true", shell={"options": options}))
        ended = await outcome(client, job)
        output = await log_of(client, job, "guest.output")
        lines = [one["context"]["message"] for one in output if one["name"] == "log"]
        return ended["success"], ended["errstr"], lines

    success, errstr, lines = in_instance(test)
    assert success == (not says) and errstr.endswith(says)
    assert lines == ([says] if says else [])


def test_a_shell_that_is_to_be_verbose_says_what_it_runs_and_has_its_log_before_it_says_it_is_there():
    async def test(_instance, client):
        spec = jobspec(nodes=1, shell={"options": {"verbose": 1}})
        job = await submit(client, spec)
        await outcome(client, job)
        return await log_of(client, job, "guest.output"), await log_of(client, job, "guest.exec.eventlog")

    output, log = in_instance(test)
    assert [event["name"] for event in output][:2] == ["header", "log"]
    assert output[1]["context"] == {"rank": 0, "level": 6, "message": "1 node(s), 1 task(s): true"}
    [init] = [event for event in log if event["name"] == "shell.init"]
    assert output[0]["timestamp"] <= init["timestamp"]


class Clock:
    """Keeps timers that nobody fires."""

    def __init__(self):
        self.live = []

    def time(self):
        return 100.0

    def call_later(self, delay, fn, *args):
        timer = SimpleNamespace(delay=delay, cancel=lambda: self.live.remove(timer))
        self.live.append(timer)
        return timer


def test_a_time_limit_that_changes_limits_who_runs_and_nobody_before_or_after():
    clock = Clock()
    limit = TimeLimit(clock, 0.0, lambda: None)
    limit.expire_at(105.0)
    assert clock.live == []
    limit.begin()
    assert [timer.delay for timer in clock.live] == [5.0]
    limit.expire_at(109.0)
    assert [timer.delay for timer in clock.live] == [9.0]
    limit.expire_at(0.0)
    assert clock.live == []
    limit.expire_at(109.0)
    limit.end()
    limit.expire_at(120.0)
    assert clock.live == []


def test_a_time_limit_is_warned_of_so_long_before_and_one_that_is_not_held_never_changes():
    clock = Clock()
    limit = TimeLimit(clock, 60.0, lambda: None, is_held=False, warned_before=10.0)
    limit.begin()
    limit.expire_at(500.0)
    assert [timer.delay for timer in clock.live] == [60.0, 50.0]
