"""The job commands."""

from __future__ import annotations

import io
import os
from base64 import b64decode
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from brokersim.cli.job import progress as progress_module
from brokersim.cli.job import submit
from brokersim.cli.job.submission import WINDOW, Submission
from brokersim.cli.job.submit import _copies
from brokersim.protocol.errnums import EINVAL, ENOENT, RequestError
from brokersim.protocol.jobspec import build, sign
from brokersim.protocol.message import Message
from tests.cli.conftest import Run
from tests.cli.fake_broker import OPEN, FakeBroker

FIRST = 5272022024192  # ƒ3PVFXvJb


class Jobs:
    """job-ingest and job-manager.wait: ids count up; every third job fails."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []

    def submit(self, request: Message) -> Any:
        self.requests.append(request.payload)
        self.specs.append(msgspec.json.decode(b64decode(request.payload["J"].split(".")[1])))
        return {"id": FIRST + len(self.specs) - 1}

    def wait(self, request: Message) -> Any:
        success = (request.payload["id"] - FIRST) % 3 != 2
        return {
            "id": request.payload["id"],
            "success": success,
            "errstr": "" if success else "task(s) exited with 1",
        }


@pytest.fixture
def jobs(fake: FakeBroker) -> Jobs:
    made = Jobs()
    fake.answers |= {
        "job-ingest.submit": made.submit,
        "job-manager.wait": made.wait,
        "job-manager.raise": None,
    }
    return made


def test_submit_prints_the_id_in_f58(jobs: Jobs, run: Run) -> None:
    assert run("job", "submit", "true") == (0, "ƒ3PVFXvJb\n", "")
    assert run("job", "submit", "true", "--json").out == "ƒ3PVFXvJc\n", "what follows CMD is CMD's"
    assert run("job", "submit", "--json", "true").json == {"jobs": [{"id": FIRST + 2}]}
    assert jobs.specs[1]["tasks"][0]["command"] == ["true", "--json"]


def test_submit_sends_a_jobspec_version_1(jobs: Jobs, run: Run) -> None:
    run("job", "submit", "-n", "2", "-c", "3", "-t", "25ms", "--name", "x", "sleep", "9")
    spec = jobs.specs[0]
    assert spec["version"] == 1
    assert spec["resources"] == [
        {"type": "slot", "count": 2, "with": [{"type": "core", "count": 3}], "label": "task"}
    ]
    assert spec["tasks"] == [{"command": ["sleep", "9"], "slot": "task", "count": {"per_slot": 1}}]
    system = spec["attributes"]["system"]
    assert system == {
        "duration": 0.0, "cwd": os.getcwd(), "environment": {}, "job": {"name": "x"},
        "exec": {"test": {"run_duration": "25ms"}},
    }  # fmt: skip
    assert {key: jobs.requests[0][key] for key in ("urgency", "flags")} == {"urgency": 16, "flags": 0}


def test_submit_real_processes_with_a_limit_and_the_environment(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "1")
    run("job", "submit", "-x", "-t", "2m", "--output-rate", "1.5", "--dependency", "afterok:ƒ1", "hostname")
    system = jobs.specs[0]["attributes"]["system"]
    assert (system["duration"], system["environment"]["MINE"]) == (120.0, "1")
    assert system["brokersim"] == {"exec": True, "output_rate": 1.5}
    assert system["dependencies"] == [{"scheme": "afterok", "value": "ƒ1"}]
    assert "exec" not in system


def test_submit_cc_makes_a_job_for_each_number(jobs: Jobs, run: Run) -> None:
    result = run("job", "submit", "--cc=1-3,7", "echo", "{cc}", "n{cc}")
    assert len(result.out.splitlines()) == 4
    assert [spec["tasks"][0]["command"] for spec in jobs.specs] == [
        ["echo", "1", "n1"], ["echo", "2", "n2"], ["echo", "3", "n3"], ["echo", "7", "n7"],
    ]  # fmt: skip


def test_submit_many_keeps_a_window_and_their_order(jobs: Jobs, run: Run) -> None:
    result = run("job", "submit", "--cc=1-2500", "true", "--progress", "true")
    assert len(set(result.out.splitlines())) == len(jobs.specs) == 2500


def test_submit_wait_returns_1_if_one_failed(jobs: Jobs, run: Run) -> None:
    assert run("job", "submit", "--cc=1-2", "--wait", "true").code == 0
    result = run("job", "submit", "--cc=1-3", "--wait", "--json", "true")
    assert (result.code, [job["success"] for job in result.json["jobs"]]) == (1, [False, True, True])
    assert result.err == "ƒ3PVFXvJd: task(s) exited with 1\n"


def test_submit_progress_forced_without_a_terminal_is_one_line(jobs: Jobs, run: Run) -> None:
    result = run("job", "submit", "--progress", "true", "--cc=1-2", "--wait", "true")
    assert result.err.startswith("submitted 2  active 0  inactive 2  ")
    assert run("job", "submit", "--cc=1-2", "true").err == ""


def test_a_wait_that_is_refused_is_told(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    fake.answers["job-manager.wait"] = RequestError(EINVAL, "job is gone")
    result = run("job", "submit", "--wait", "true")
    assert result.code != 0 and "job is gone (EINVAL)" in result.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_submit_progress_is_a_bar_on_a_terminal_and_gone_when_done(
    jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "DELAY", 0)
    monkeypatch.setattr(progress_module, "PERIOD", 0)
    for words, shown in (((), True), (("--progress", "false"), False)):
        terminal = Terminal()
        jobs.specs.clear()
        monkeypatch.setattr("sys.stderr", terminal)
        assert run("job", "submit", *words, "--cc=1-2", "--wait", "true").code == 0
        text = terminal.getvalue()
        assert ("submitted 2  active 0  inactive 2" in text) == shown
        assert ("100%" in text) == shown
        assert not shown or text.endswith("\x1b[2K"), "the last thing done is to clear the line"
    monkeypatch.undo()


def test_submit_refused_tells_why(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-ingest.submit"] = RequestError(EINVAL, "jobspec: resources hold no slot")
    assert run("job", "submit", "true").err == (
        "error: the job was refused: jobspec: resources hold no slot (EINVAL)\n  try:  brokersim job submit --help\n"
    )


def test_cc_sets() -> None:
    assert _copies("1-3,7") == [1, 2, 3, 7]
    assert _copies("0") == [0]
    for wrong in ("all", "3-1", "x", "1-99999999"):
        with pytest.raises(ValueError, match=r"not a set|more than"):
            _copies(wrong)


def test_the_envelope_is_the_one_flux_sends() -> None:
    header, payload, signature = sign({"a": 1}, 0).split(".")
    # `flux submit true` of uid 0, flux-core 0.88
    assert header == "dmVyc2lvbgBpMQB1c2VyaWQAaTAAbWVjaGFuaXNtAHNub25lAA=="
    assert (b64decode(payload), signature) == (b'{"a":1}', "none")


def test_a_job_without_a_time_is_simulated_for_a_millisecond() -> None:
    assert build(["/bin/x"], run_time=0.001)["attributes"]["system"]["exec"] == {
        "test": {"run_duration": "1ms"}
    }
    assert build(["/bin/x"])["attributes"]["system"]["job"] == {"name": "x"}


# --- list


LISTED = [
    {"id": FIRST, "name": "true", "state": 64, "result": 1, "ntasks": 1, "nnodes": 1, "nodelist": "sim0",
     "t_run": 100.0, "t_cleanup": 102.5, "priority": 16, "userid": 0},
    {"id": FIRST + 1, "name": "sleep", "state": 8, "ntasks": 4, "priority": 16, "userid": 0},
]  # fmt: skip


def test_list(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-list.list"] = [{"jobs": [LISTED[0]], "version": 1}, {"jobs": [LISTED[1]]}]
    assert run("job", "list").out == (
        "JobID      Name   ST  Tasks  Nodes  Time  Info\n"
        "ƒ3PVFXvJb  true   CD      1      1  2.5s  sim0\n"
        "ƒ3PVFXvJc  sleep  S       4      -  -     -\n"
    )
    assert run("job", "list", "--json").json == {"jobs": LISTED}
    assert fake.asked("job-list.list")[0] == {
        "max_entries": 1000, "attrs": ["all"],
        "constraint": {"and": [{"userid": [os.getuid()]}, {"states": [62]}]},
    }  # fmt: skip


def test_list_by_state_and_in_a_form(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-list.list"] = [{"jobs": LISTED}]
    assert run("job", "list", "-a", "-o", "{id} {dec} {status} {runtime}").out == (
        f"ƒ3PVFXvJb {FIRST} COMPLETED 2.5s\nƒ3PVFXvJc {FIRST + 1} SCHED \n"
    )
    run("job", "list", "-f", "run,pending", "-c", "5")
    states = [one["constraint"]["and"][1]["states"] for one in fake.asked("job-list.list")]
    assert states == [[126], [30]]
    result = run("job", "list", "-o", "{nope}")
    assert (result.code, result.err.splitlines()[0]) == (
        2,
        "error: --format '{nope}': no field 'nope' in a job",
    )
    assert run("job", "list", "-o", "{").code == 2


def test_list_of_nothing_prints_titles_only(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-list.list"] = []
    assert run("job", "list").out == "JobID  Name  ST  Tasks  Nodes  Time  Info\n"
    assert run("job", "list", "-n") == (0, "", "")


# --- wait, cancel, eventlog


def test_wait(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    assert run("job", "wait", "ƒ3PVFXvJb", str(FIRST + 1)) == (0, "", "")
    assert run("job", "wait", "f3PVFXvJd") == (1, "", "ƒ3PVFXvJd: task(s) exited with 1\n")
    fake.answers["job-list.list"] = [{"jobs": LISTED}]
    assert [one["id"] for one in run("job", "wait", "--all", "--json").json["jobs"]] == [FIRST, FIRST + 1]
    fake.answers["job-manager.wait"] = RequestError(ENOENT, "unknown job id")
    assert run("job", "wait", "ƒ1") == (
        4, "", "error: no job ƒ1 (ENOENT)\n  try:  brokersim job list -a\n",
    )  # fmt: skip


def test_cancel(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    assert run("job", "cancel", "ƒ3PVFXvJb") == (0, "", "")
    assert run("job", "cancel", "-m", "enough", "ƒ3PVFXvJb", "--json").json == {"canceled": [FIRST]}
    assert fake.asked("job-manager.raise") == [
        {"id": FIRST, "type": "cancel", "severity": 0},
        {"id": FIRST, "type": "cancel", "severity": 0, "note": "enough"},
    ]
    fake.answers["job-manager.raise"] = RequestError(ENOENT, "job is inactive")
    assert run("job", "cancel", "ƒ1").err == "error: job ƒ1 was not canceled: job is inactive (ENOENT)\n"


def test_cancel_needs_to_be_told_which_and_all_are_those_that_are_not_done(
    fake: FakeBroker, jobs: Jobs, run: Run
) -> None:
    refused = run("job", "cancel")
    assert (refused.code, "give job ids, or --all" in refused.err, fake.topics) == (2, True, [])
    fake.answers["job-list.list"] = [{"jobs": [{"id": FIRST}, {"id": FIRST + 1}]}]
    assert run("job", "cancel", "--all", "--json").json == {"canceled": [FIRST, FIRST + 1]}
    assert [one["id"] for one in fake.asked("job-manager.raise")] == [FIRST, FIRST + 1]


class Session:
    """Of a submission: one that answers when it is asked to, and how many were waited for then."""

    json = True

    def __init__(self) -> None:
        self.client = self
        self.sent = 0
        self.outstanding: list[int] = []

    def trace(self, *_: Any) -> None:
        pass

    def send_request(self, _topic: str, _payload: Any) -> int:
        self.sent += 1
        return self.sent

    def recv_response(self, tag: int) -> Any:
        self.outstanding.append(self.sent - tag + 1)
        return SimpleNamespace(errnum=0, payload={"id": tag})


def test_no_more_than_a_window_of_submissions_is_unanswered() -> None:
    session, bar = Session(), SimpleNamespace(submitted=lambda: None)
    submission = Submission(session, False, bar, lambda _: None)  # type: ignore[arg-type]
    for _ in range(WINDOW - 1):
        submission.send({})
    assert session.outstanding == []
    for _ in range(3):
        submission.send({})
    assert session.outstanding == [WINDOW] * 3
    submission.finish()
    assert submission.ids == list(range(1, WINDOW + 3))


def event(name: str, **context: Any) -> dict[str, str]:
    return {
        "event": msgspec.json.encode({"timestamp": 1.5, "name": name, "context": context}).decode() + "\n"
    }


def test_eventlog_once_or_followed(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {
        "job-info.lookup": {"id": FIRST, "eventlog": event("submit", userid=0)["event"]},
        "job-info.eventlog-watch": [event("submit", userid=0), event("clean")],
    }
    assert run("job", "eventlog", "ƒ3PVFXvJb").out == '1.500000 submit {"userid":0}\n'
    assert (
        run("job", "eventlog", "-w", "ƒ3PVFXvJb").out == '1.500000 submit {"userid":0}\n1.500000 clean {}\n'
    )
    assert run("job", "eventlog", "-w", "ƒ3PVFXvJb", "--json").lines[1]["name"] == "clean"
    assert fake.asked("job-info.lookup") == [{"id": FIRST, "keys": ["eventlog"], "flags": 0}]
    assert fake.asked("job-info.eventlog-watch")[0] == {"id": FIRST, "path": "eventlog", "flags": 0}


# --- run


def watch(output: list[Any], *events: dict[str, str]) -> Any:
    logs = {"eventlog": list(events), "guest.output": output, "guest.exec.eventlog": []}
    return lambda request: logs[request.payload["path"]]


@pytest.mark.parametrize(
    ("status", "code"),
    [(0, 0), (3 << 8, 3), (9, 137), (15, 143)],
    ids=["fine", "exit 3", "killed", "terminated"],
)
def test_run_returns_the_jobs_exit_code(
    status: int, code: int, fake: FakeBroker, jobs: Jobs, run: Run
) -> None:
    fake.answers["job-info.eventlog-watch"] = watch(
        [], event("start"), event("finish", status=status), event("clean")
    )
    assert run("job", "run", "-x", "true").code == code


def test_run_prints_the_output_of_both_streams(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    output = [
        event("header"), event("data", stream="stdout", rank="0", data="hello\n"),
        event("data", stream="stderr", rank="0", data="oops\n"),
        event("data", stream="stdout", rank="0", data="d29ybGQK", encoding="base64"),
        event("data", stream="stdout", rank="0", eof=True),
    ]  # fmt: skip
    fake.answers["job-info.eventlog-watch"] = watch(output, event("start"), event("finish", status=0))
    assert run("job", "run", "-x", "hello") == (0, "hello\nworld\n", "oops\n")
    assert run("job", "run", "--json", "-x", "hello").lines[1] == {
        "id": FIRST + 1,
        "stream": "stdout",
        "data": "hello\n",
    }


def test_run_of_a_job_that_never_starts_is_1_and_says_why(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    trouble = event("exception", type="alloc", severity=0, note="unsatisfiable request")
    fake.answers["job-info.eventlog-watch"] = watch([], event("submit"), trouble, event("clean"))
    assert run("job", "run", "true") == (1, "", "ƒ3PVFXvJb: alloc: unsatisfiable request\n")


def test_an_exception_that_is_none_to_end_a_job_is_no_trouble(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    note = event("exception", type="note", severity=1, note="slow")
    fake.answers["job-info.eventlog-watch"] = watch([], event("start"), note, event("finish", status=0))
    assert run("job", "run", "true") == (0, "", "")


def test_run_interrupted_before_anything_is_followed_cancels_the_job(
    fake: FakeBroker, jobs: Jobs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_uri: str, _job: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "forward_stdin", interrupt)
    assert run("--timeout", "5s", "job", "run", "true").code == 130
    assert fake.asked("job-manager.raise") == [{"id": FIRST, "type": "cancel", "severity": 0}]


def test_run_interrupted_cancels_the_job(fake: FakeBroker, jobs: Jobs, run: Run) -> None:
    pressed: list[Message] = []

    def interrupt(request: Message) -> Any:
        if not pressed:
            pressed.append(request)
            os.kill(os.getpid(), 2)
        return [event("submit"), OPEN]

    fake.answers["job-info.eventlog-watch"] = interrupt
    assert run("--timeout", "5s", "job", "run", "true").code == 130
    assert fake.asked("job-manager.raise") == [{"id": FIRST, "type": "cancel", "severity": 0}]
