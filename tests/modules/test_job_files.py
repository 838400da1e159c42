"""Files of a job: what it brings along, what it reads and writes by relative paths; and the warning before its end."""

from __future__ import annotations

import base64
import signal
import stat

import pytest

from modules.job_exec.output import Names
from modules.job_exec.taskmap import TaskMap
from tests.modules.job_harness import in_instance, log_of, outcome, real, submit

REGULAR = stat.S_IFREG | 0o640


def text_of(events):
    data = (event["context"] for event in events if event["name"] == "data")
    return "".join(one.get("data", "") for one in data if one["stream"] == "stdout")


def ended(spec, rundir=None, **settings):
    """(outcome, output events) of a job, in an instance with a folder of its own or without."""

    async def test(instance, client):
        if rundir is not None:
            instance.broker(0).attributes.fix("rundir", str(rundir))
        job = await submit(client, spec)
        return await outcome(client, job), await log_of(client, job, "guest.output")

    return in_instance(test, **settings)


def test_relative_paths_of_input_and_output_are_meant_where_the_tasks_are(tmp_path):
    (tmp_path / "in").write_text("hello\n")
    options = {
        "input": {"stdin": {"type": "file", "path": "in"}},
        "output": {"stdout": {"type": "file", "path": "out.{{name}}"}},
    }
    spec = real("cat", cwd=str(tmp_path), shell={"options": options})

    async def test(_instance, client):
        job = await submit(client, spec)
        logs = [await log_of(client, job, f"guest.{name}") for name in ("output", "input")]
        return await outcome(client, job), *logs

    answer, events, given = in_instance(test)
    assert answer["success"] and (tmp_path / "out.cat").read_text() == "hello\n"
    assert [(event["name"], event["context"].get("path")) for event in given] == [
        ("header", None),
        ("redirect", "in"),
    ]
    [redirect] = [event["context"]["path"] for event in events if event["name"] == "redirect" and
                  event["context"]["stream"] == "stdout"]  # fmt: skip
    assert redirect == "out.cat"


def with_files(tmp_path, files, *command):
    rundir = tmp_path / "run"
    rundir.mkdir()
    return ended(real(*command, files=files), rundir)


def test_files_a_jobspec_brings_along_are_in_the_jobs_folder_while_it_runs(tmp_path):
    files = {
        "plain": {"mode": REGULAR, "encoding": "utf-8", "data": "text"},
        "bytes": {
            "mode": REGULAR,
            "encoding": "base64",
            "data": base64.b64encode(b"\x00\x01").decode(),
            "size": 4,
        },
        "sub/json": {"mode": REGULAR | 0o111, "data": {"a": 1}},
        "empty": {"mode": stat.S_IFDIR | 0o700},
        "link": {"mode": stat.S_IFLNK | 0o777, "data": "plain"},
    }
    show = "cd $FLUX_JOB_TMPDIR; cat plain link sub/json; od -An -tx1 bytes; stat -c '%a %F' plain sub/json empty"
    answer, events = with_files(tmp_path, files, "sh", "-c", show)
    assert answer["success"]
    assert text_of(events) == (
        'texttext{"a":1} 00 01 00 00\n640 regular file\n751 regular file\n700 directory\n'
    )
    assert list((tmp_path / "run").glob("jobtmp*")) == []


def test_tags_in_arguments_and_variables_stand_for_what_the_job_and_its_tasks_are(tmp_path):
    """As flux-core's shell: tags that are not known stay as they are."""
    (rundir := tmp_path / "run").mkdir()
    shown = "{{name}} {{size}} {{taskid}}/{{task.index}} {{no}}"
    spec = real("sh", "-c", 'cat {{tmpdir}}/f; echo "$1" "$OWN-$MORE"', "x", shown,
                files={"f": {"mode": REGULAR, "encoding": "utf-8", "data": "text "}},
                environment={"OWN": "{{nnodes}}-{{node.id}}", "PATH": "/usr/bin:/bin"},
                shell={"options": {"env-expand": {"MORE": "{{task.rank}}", "BAD": 5}}})  # fmt: skip
    spec["resources"][0]["count"] = 2
    answer, events = ended(spec, rundir)
    assert answer["success"]
    assert sorted(text_of(events).splitlines()) == [
        f"text sh 2 {task}/{task} {{{{no}}}} 1-0-{task}" for task in (0, 1)
    ]


def test_each_node_has_its_own_tags():
    names = Names(job=1, name="n", ntasks=4, nnodes=2, taskmap=TaskMap((0, 0, 1, 1)))
    assert [names.render("{{taskid}} {{node.id}}.{{task.localid}}", task) for task in range(4)] == [
        "0 0.0",
        "1 0.1",
        "2 1.0",
        "3 1.1",
    ]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (
            {"../up": {"mode": REGULAR, "data": 1}},
            "../up: a file of a jobspec is put into the job's own folder",
        ),
        (
            {"/etc/x": {"mode": REGULAR, "data": 1}},
            "/etc/x: a file of a jobspec is put into the job's own folder",
        ),
        ({"x": {"data": 1}}, "x: error decoding fileref object: it has no mode"),
        ({"x": {"mode": stat.S_IFIFO}}, "x: unknown file type (mode=010000)"),
        ({"x": {"mode": stat.S_IFLNK}}, "x: missing symlink data"),
        ({"x": {"mode": REGULAR, "encoding": "blobvec", "data": []}}, "x: unknown RFC 37 encoding blobvec"),
        ({"x": {"mode": REGULAR, "encoding": "base64", "data": "!"}}, "x: could not decode base64 file data"),
        ({"x": {"mode": REGULAR, "encoding": "utf-8", "data": 1}}, "x: unexpected data type for utf-8"),
        (7, "files must be an object or a list of file objects"),
    ],
)
def test_a_file_that_cannot_be_made_ends_the_job_before_it_runs(tmp_path, files, why):
    answer, events = with_files(tmp_path, files, "touch", str(tmp_path / "ran"))
    assert not answer["success"] and not (tmp_path / "ran").exists()
    assert any(why in event["context"].get("message", "") for event in events)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_files_for_a_job_of_an_instance_without_a_folder_are_refused():
    answer, events = ended(real("true", files={"x": {"mode": REGULAR, "data": 1}}))
    assert not answer["success"]
    assert any("this instance has no folder" in event["context"].get("message", "") for event in events)


def test_a_job_is_warned_by_a_signal_before_its_time_is_over():
    spec = real("sh", "-c", 'trap "echo got; exit 0" USR2; echo here; while :; do sleep 0.02; done', duration=2.0,
                shell={"options": {"signal": {"signum": int(signal.SIGUSR2), "timeleft": "1.8s"}}})  # fmt: skip
    answer, events = ended(spec, clock="real")
    assert answer["success"] and text_of(events).endswith("got\n")
    [said] = [event["context"]["message"] for event in events if event["name"] == "log"]
    assert said == "signal: job will expire in 1.8s, sending SIGUSR2 to job"


def test_a_warning_that_makes_no_sense_is_refused():
    spec = real("true", duration=2.0, shell={"options": {"signal": {"signum": 99}}})

    async def test(_instance, client):
        job = await submit(client, spec)
        await outcome(client, job)
        return [
            event["context"]["note"] for event in await log_of(client, job) if event["name"] == "exception"
        ]

    [note] = in_instance(test)
    assert "shell option signal.signum must be 1 to 64, not 99" in note
