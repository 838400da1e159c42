"""What submit, run, jobs, cancel and drain ask, asked by a client that shares no code with the server."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from brokersim.protocol import jobid
from tests.fluxcompat.minimal_client import STREAMING, MinimalClient

UID = os.getuid()
MAIN_LOG = [
    "submit",
    "validate",
    "depend",
    "priority",
    "alloc",
    "start",
    "finish",
    "release",
    "free",
    "clean",
]
GUEST_LOG = [
    "init",
    "starting",
    "shell.init",
    "shell.start",
    "shell.task-exit",
    "shell-exit",
    "complete",
    "done",
]


def jobspec(*command: str, duration: float = 0, **system: Any) -> dict[str, Any]:
    slot = {"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}], "label": "task"}
    tasks = [{"command": list(command), "slot": "task", "count": {"per_slot": 1}}]
    attributes = {"system": {"duration": duration, **system}}
    return {"resources": [slot], "tasks": tasks, "attributes": attributes, "version": 1}


def signed(spec: dict[str, Any], userid: int = UID) -> str:
    header = base64.b64encode(b"version\0i1\0userid\0i%d\0mechanism\0snone\0" % userid).decode()
    return f"{header}.{base64.b64encode(json.dumps(spec).encode()).decode()}.none"


def shell_of(job: int) -> str:
    """The service of a job's shell."""
    return f"{UID}-shell-f{jobid.encode(job)[1:]}"


def submit(client: MinimalClient, *command: str, **more: Any) -> int:
    payload = {"J": signed(jobspec(*command, **more)), "urgency": 16, "flags": 0}
    answer = client.rpc("job-ingest.submit", payload)
    assert list(answer) == ["id"]
    return int(answer["id"])


def log(client: MinimalClient, job: int, path: str) -> list[dict[str, Any]]:
    """An eventlog, followed to its end."""
    frames = list(client.stream("job-info.eventlog-watch", {"id": job, "path": path, "flags": 0}))
    assert (frames[-1].errnum, frames[-1].payload) == (61, None)
    lines = [frame.json["event"] for frame in frames[:-1]]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["name"] for event in events]


def test_a_submitted_jobs_logs_have_fluxs_events_in_fluxs_order(client: MinimalClient) -> None:
    job = submit(client, "true")
    assert names(log(client, job, "eventlog")) == MAIN_LOG
    guest = log(client, job, "guest.exec.eventlog")
    assert names(guest) == GUEST_LOG
    init = guest[2]["context"]
    assert (init["service"], init["leader-rank"], init["size"]) == (shell_of(job), 0, 1)
    output = log(client, job, "guest.output")
    assert [event.get("context", {}).get("eof") for event in output] == [None, None, True, True]
    assert output[1]["context"]["data"].startswith("brokersim: "), "nobody asked for it, so it is told"
    assert client.rpc("job-list.list-id", {"id": job, "attrs": ["queue"]}) == {"job": {"id": job}}


def test_a_real_command_gives_its_output_and_exit_code(client: MinimalClient) -> None:
    job = submit(client, "sh", "-c", "echo out; echo err >&2; exit 3", brokersim={"exec": True})
    events = log(client, job, "eventlog")
    assert [event["context"]["status"] for event in events if event["name"] == "finish"] == [3 << 8]
    data = [event["context"] for event in log(client, job, "guest.output") if event["name"] == "data"]
    text = {
        one: "".join(c["data"] for c in data if c["stream"] == one and "data" in c)
        for one in ("stdout", "stderr")
    }
    assert text == {"stdout": "out\n", "stderr": "err\n"}
    result = client.rpc("job-manager.wait", {"id": job, "claim": False})
    assert (result["id"], result["success"], result["status"]) == (job, False, 3 << 8)


def test_jobs_are_listed_by_constraint_with_the_attributes_asked_for(client: MinimalClient) -> None:
    job = submit(client, "hostname")
    client.rpc("job-manager.wait", {"id": job, "claim": False})
    attrs = [
        "nnodes", "queue", "state", "name", "userid", "t_cleanup", "duration", "priority", "result", "dependencies",
        "nodelist", "urgency", "ntasks", "t_run", "annotations",
    ]  # fmt: skip
    constraint = {"and": [{"userid": [UID]}, {"states": [126]}, {"name": ["hostname"]}]}
    asked = {"max_entries": 1001, "attrs": attrs, "since": 0.0, "constraint": constraint}
    frames = list(client.stream("job-list.list", asked))
    first, end = frames[0].json, frames[-1]
    assert (first["version"], len(first["jobs"]), end.errnum, end.payload) == (1, 1, 61, None)
    found = first["jobs"][0]
    keys = set(attrs) - {"queue", "dependencies"}
    assert set(found) == keys | {"id"}
    expected = {
        "id": job,
        "state": 64,
        "name": "hostname",
        "result": 1,
        "ntasks": 1,
        "urgency": 16,
        "nnodes": 1,
    }
    assert expected.items() <= found.items()
    assert client.rpc("job-list.list", asked) == {"jobs": [found]}
    running = {**asked, "constraint": {"and": [{"userid": [UID]}, {"states": [62]}, {"name": ["hostname"]}]}}
    assert [frame.errnum for frame in client.stream("job-list.list", running)] == [61]
    assert client.errnum("job-list.list", {**asked, "attrs": ["nosuch"]}) == 22
    assert client.errnum("job-list.list", {**asked, "constraint": {"nosuch": []}}) == 71


def test_cancel_raises_an_exception_and_drain_waits_for_the_last_job(
    client: MinimalClient, connect: Any
) -> None:
    job = submit(client, "sleep", duration=1000)
    watching = client.send(
        "job-info.eventlog-watch", {"id": job, "path": "eventlog", "flags": 0}, flags=STREAMING
    )
    events = client.responses(watching)
    while json.loads(next(events).json["event"])["name"] != "start":
        pass
    draining = connect()
    tag = draining.send("job-manager.drain")
    cancel = {"id": job, "type": "cancel", "severity": 0}
    assert client.raw("job-manager.raise", cancel).payload is None
    rest = [json.loads(frame.json["event"]) for frame in events if not frame.errnum]
    assert rest[0]["name"] == "exception" and rest[0]["context"]["type"] == "cancel"
    assert draining.answer(tag).payload is None
    assert client.errnum("job-manager.raise", cancel) == 2
    frame = client.raw("job-manager.raise", {**cancel, "id": 1})
    assert (frame.errnum, frame.text) == (2, "unknown job id")


def test_a_followed_log_ends_when_it_is_cancelled(client: MinimalClient) -> None:
    job = submit(client, "sleep", duration=1000)
    tag = client.send("job-info.eventlog-watch", {"id": job, "path": "eventlog", "flags": 0}, flags=STREAMING)
    events = client.responses(tag)
    assert json.loads(next(events).json["event"])["name"] == "submit"
    client.send("job-info.eventlog-watch-cancel", {"matchtag": tag}, flags=4)
    assert [frame.errnum for frame in events][-1] == 61
    client.rpc("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})


def test_records_of_a_job_are_looked_up_by_key(client: MinimalClient) -> None:
    job = submit(client, "true")
    client.rpc("job-manager.wait", {"id": job, "claim": False})
    found = client.rpc("job-info.lookup", {"id": job, "keys": ["jobspec", "R", "eventlog"], "flags": 0})
    assert json.loads(found["jobspec"])["tasks"][0]["command"] == ["true"]
    assert json.loads(found["R"])["version"] == 1
    assert names([json.loads(line) for line in found["eventlog"].splitlines()])[0] == "submit"
    assert client.errnum("job-info.lookup", {"id": job, "keys": ["nosuch"], "flags": 0}) == 2


def test_a_jobspec_that_is_none_is_refused_with_the_reason(client: MinimalClient) -> None:
    for j in ("x", signed({}), signed(jobspec("true"), UID + 1)):
        frame = client.raw("job-ingest.submit", {"J": j, "urgency": 16, "flags": 0})
        assert frame.errnum == 22 and frame.text
