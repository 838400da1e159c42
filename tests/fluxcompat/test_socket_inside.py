"""What `flux exec --jobid` and `flux job hostpids` ask a job's shell, by a client that shares no code with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fluxcompat.minimal_client import NORESPONSE, STREAMING, MinimalClient
from tests.fluxcompat.test_socket_exec import STDOUT, cmd, said
from tests.fluxcompat.test_socket_jobs import shell_of, submit
from tests.fluxcompat.test_socket_run import run

ESRCH, ENODATA = 3, 61


def begin(client: MinimalClient, service: str, *words: str, rank: int = 0) -> tuple[int, Any, int]:
    """A command inside a job: its matchtag, its further answers, its process."""
    order = {"cmd": cmd(*words), "flags": STDOUT}
    tag = client.send(f"{service}.rexec.exec", order, rank, STREAMING)
    frames = client.responses(tag)
    return tag, frames, next(frames).json["pid"]


def cancel(client: MinimalClient, job: int) -> None:
    client.rpc("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})


def test_input_and_signals_reach_what_runs_inside_a_job_and_no_other_process(client: MinimalClient) -> None:
    job, service, _ = run(client, "sleep", "100")
    tag, frames, pid = begin(client, service, "cat")
    io = {"stream": "stdin", "rank": "0", "data": "a\n"}
    client.send(f"{service}.rexec.write", {"matchtag": tag, "io": io}, flags=NORESPONSE)
    assert next(frames).json["io"]["data"] == "a\n"
    listed = client.rpc(f"{service}.rexec.list")["procs"]
    assert [(one["pid"], one["cmd"]) for one in listed] == [(pid, "cat")]
    strange = client.send("rexec.exec", {"cmd": cmd("sleep", "100"), "flags": 0}, flags=STREAMING)
    others = next(client.responses(strange)).json["pid"]
    kill = {"pid": others, "signum": signal.SIGKILL}
    assert client.errnum(f"{service}.rexec.kill", kill) == ESRCH
    client.rpc("rexec.kill", kill)
    client.rpc(f"{service}.rexec.kill", {"pid": pid, "signum": signal.SIGINT})
    assert {"type": "finished", "status": signal.SIGINT} in said(list(frames))
    assert client.rpc(f"{service}.rexec.list")["procs"] == []
    cancel(client, job)


def test_what_runs_inside_a_job_ends_with_it(client: MinimalClient) -> None:
    job, service, _ = run(client, "sleep", "100")
    frames = begin(client, service, "sleep", "100")[1]
    cancel(client, job)
    *answers, end = frames
    assert {"type": "finished", "status": signal.SIGTERM} in said(answers)
    assert end.errnum == ENODATA


def test_what_runs_inside_a_job_ends_with_who_asked_for_it(
    client: MinimalClient, connect: Callable[..., MinimalClient]
) -> None:
    job, service, _ = run(client, "sleep", "100")
    with connect() as other:
        pid = begin(other, service, "sleep", "100")[2]
    while Path(f"/proc/{pid}").exists():
        client.rpc("rexec.list")
    cancel(client, job)


def test_the_table_of_processes_has_the_commands_own(client: MinimalClient) -> None:
    job, service, leader = run(client, "sleep", "100")
    while (frame := client.raw(f"{service}.proctable", None, leader)).errnum == ENODATA:
        pass  # its task is not started yet
    table = frame.json
    [pid] = table.pop("pids")
    assert table == {"hosts": [os.uname().nodename], "executables": ["sleep"], "ids": [0], "ranks": [0]}
    assert Path(f"/proc/{pid}/comm").read_text() in (
        "sleep\n",
        "sh\n",
    )  # the latter until it has become the command
    cancel(client, job)


def test_a_simulated_job_has_no_processes(client: MinimalClient) -> None:
    job = submit(client, "true", duration=100.0, **{"exec": {"test": {"run_duration": "100s"}}})
    watch = {"id": job, "path": "guest.exec.eventlog", "flags": 0}
    frames = client.responses(client.send("job-info.eventlog-watch", watch, flags=STREAMING))
    events = (frame.json["event"] for frame in frames)
    assert any("shell.start" in event for event in events)
    frame = client.raw(f"{shell_of(job)}.proctable")
    assert (frame.errnum, frame.text) == (
        ENODATA,
        "the tasks of this job are no processes: it is simulated, or over",
    )
    cancel(client, job)
