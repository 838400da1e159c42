"""What `flux run` does with standard input, asked by a client that shares no code with the server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import STREAMING, MinimalClient
from tests.fluxcompat.test_socket_jobs import log, shell_of, submit

EPERM, EINVAL, ENOSPC, EPIPE, ENOSYS, EPROTO = 1, 22, 28, 32, 38, 71


def run(client: MinimalClient, *command: str, **system: Any) -> tuple[int, str, int]:
    """A real job that has come up: its id, its shell's service and the leader's rank."""
    job = submit(client, *command, brokersim={"exec": True}, **system)
    watch = {"id": job, "path": "guest.exec.eventlog", "flags": 0}
    tag = client.send("job-info.eventlog-watch", watch, flags=STREAMING)
    for frame in client.responses(tag):
        event = json.loads(frame.json["event"])
        if event["name"] == "shell.init":
            where = event["context"]
            client.send("job-info.eventlog-watch-cancel", {"matchtag": tag}, flags=4)
            return job, where["service"], where["leader-rank"]
    raise AssertionError("no shell.init")


def piece(data: str | None = None, eof: bool = False, rank: str = "all", **more: Any) -> dict[str, Any]:
    io: dict[str, Any] = {"stream": "stdin", "rank": rank, **more}
    return {**io, **({} if data is None else {"data": data}), **({"eof": True} if eof else {})}


def output(client: MinimalClient, job: int) -> str:
    data = [event["context"] for event in log(client, job, "guest.output") if event["name"] == "data"]
    return "".join(one.get("data", "") for one in data)


def test_what_is_sent_to_the_shells_stdin_is_what_the_command_reads(client: MinimalClient) -> None:
    job, service, leader = run(client, "sort")
    assert service == shell_of(job)
    for io in (piece("b\n"), piece("a\n"), piece(base64.b64encode(b"\xff").decode(), encoding="base64")):
        assert client.raw(f"{service}.stdin", io, leader).payload is None
    client.rpc(f"{service}.stdin", piece("c", eof=True), leader)
    raw = [
        base64.b64decode(event["context"]["data"])
        if "encoding" in event["context"]
        else event["context"]["data"]
        for event in log(client, job, "guest.output")
        if "data" in event.get("context", {})
    ]
    assert b"".join(one if isinstance(one, bytes) else one.encode() for one in raw) == b"a\nb\n\xffc\n"
    # It went through the job's own log, as in Flux, with the I/O objects as contexts.
    lines = client.rpc("job-info.lookup", {"id": job, "keys": ["guest.input"], "flags": 0})["guest.input"]
    events = [json.loads(line) for line in lines.splitlines()]
    assert [event["name"] for event in events] == ["header", "data", "data", "data", "data"]
    assert events[4]["context"] == piece("c", eof=True)


def test_input_for_one_task_reaches_that_task(client: MinimalClient) -> None:
    job, service, leader = run(client, "sh", "-c", "read line; echo $FLUX_TASK_RANK $line")
    client.rpc(f"{service}.stdin", piece("only\n", rank="0"), leader)
    assert output(client, job) == "0 only\n"
    assert client.errnum(f"{service}.stdin", piece("x", rank="0"), leader) == ENOSYS  # the shell has gone


def test_input_that_nobody_takes_any_more_or_that_is_none_is_refused(client: MinimalClient) -> None:
    job, service, leader = run(client, "cat")
    topic = f"{service}.stdin"
    assert client.errnum(topic, piece("x", rank="7"), leader) == EINVAL
    assert client.errnum(topic, piece("x", rank="x"), leader) == EINVAL
    assert client.errnum(topic, {"stream": "stdin"}, leader) == EPROTO
    assert client.errnum(topic, piece("not base64!", encoding="base64"), leader) == EPROTO
    frame = client.raw(f"{service}.nosuch", None, leader)
    assert (frame.errnum, frame.text) == (ENOSYS, f"Unknown service method '{service}.nosuch'")
    client.rpc(topic, piece(eof=True), leader)
    assert client.errnum(topic, piece("late"), leader) in (EPIPE, ENOSYS)  # it ends by that end
    assert output(client, job) == ""


def test_what_a_command_does_not_read_is_bounded(client: MinimalClient) -> None:
    job, service, leader = run(client, "sleep", "100")
    errnums = [client.errnum(f"{service}.stdin", piece("x" * (1 << 20)), leader) for _ in range(6)]
    assert errnums[0] == 0 and errnums[-1] == ENOSPC
    client.rpc("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})


def test_another_user_sends_no_input(client: MinimalClient, guest: MinimalClient) -> None:
    job, service, leader = run(client, "cat")
    frame = guest.raw(f"{service}.stdin", piece("x"), leader)
    assert (frame.errnum, frame.text) == (EPERM, "guests can only send input to their own jobs")
    client.rpc(f"{service}.stdin", piece(eof=True), leader)
    assert output(client, job) == ""


@pytest.mark.parametrize("has_file", [True, False])
def test_a_job_may_read_a_file_instead_and_then_has_no_stdin_service(
    client: MinimalClient, tmp_path: Any, has_file: bool
) -> None:
    path = tmp_path / "input"
    if has_file:
        path.write_text("from a file\n")
    stdin = {"stdin": {"type": "file", "path": str(path)}}
    job = submit(client, "cat", brokersim={"exec": True}, shell={"options": {"input": stdin}})
    note = f"error opening input file '{path}': No such file or directory"
    notes = [
        event["context"]["message"] for event in log(client, job, "guest.output") if event["name"] == "log"
    ]
    assert notes == ([] if has_file else [note])
    assert output(client, job) == ("from a file\n" if has_file else "")
    assert client.errnum(f"{shell_of(job)}.stdin", piece("x")) == ENOSYS


def test_a_simulated_job_takes_input_and_keeps_it(client: MinimalClient) -> None:
    job = submit(client, "sleep", duration=1000)
    watch = {"id": job, "path": "guest.exec.eventlog", "flags": 0}
    for frame in client.stream("job-info.eventlog-watch", watch):
        if json.loads(frame.json["event"])["name"] == "shell.start":
            break
    client.rpc(f"{shell_of(job)}.stdin", piece(eof=True), 0)
    assert client.errnum(f"{shell_of(job)}.stdin", piece("x"), 0) == EPIPE
    client.rpc("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
