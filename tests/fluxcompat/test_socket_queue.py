"""What `flux jobs`, `flux job`, `flux queue` ask beyond submitting, by a client that shares no code with the server."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import STREAMING, MinimalClient
from tests.fluxcompat.test_socket_jobs import UID, jobspec, log, signed, submit

EPERM, ENOENT, ECHILD, EINVAL, EPROTO = 1, 2, 10, 22, 71
PENDING, RUNNING, INACTIVE = 14, 48, 64
COMPLETED, FAILED, CANCELED, TIMEOUT = 1, 2, 4, 8


def ids(client: MinimalClient, constraint: Any, **more: Any) -> list[int]:
    request = {"max_entries": 0, "attrs": ["id"], "constraint": constraint, **more}
    return [job["id"] for job in client.rpc("job-list.list", request)["jobs"]]


def wait(client: MinimalClient, *jobs: int) -> None:
    for job in jobs:
        client.rpc("job-manager.wait", {"id": job, "claim": False})


def cancel(client: MinimalClient, *jobs: int) -> None:
    for job in jobs:  # one that has ended is refused, and waited for all the same
        client.errnum("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
    wait(client, *jobs)


def until_state(client: MinimalClient, job: int, name: str) -> None:
    """Until that event is in its log."""
    watch = {"id": job, "path": "eventlog", "flags": 0}
    tag = client.send("job-info.eventlog-watch", watch, flags=STREAMING)
    while json.loads(client.answer(tag).json["event"])["name"] != name:
        pass
    client.send("job-info.eventlog-watch-cancel", {"matchtag": tag}, flags=4)


@pytest.fixture(scope="module")
def jobs(uri: str) -> Iterator[dict[str, int]]:
    """One of each kind, named ``q-KIND``; the held one is pending, the long one runs."""
    with MinimalClient(uri) as client:
        # A queue has to be known; the others are submitted when there is none any more.
        client.rpc("config.load", {"queues": {"q1": {}}})
        client.rpc("job-manager.queue-start", {"start": True, "name": "q1", "all": False})
        good = submit(client, "x", duration=0.001, job={"name": "q-good"}, queue="q1", project="p", bank="b")
        wait(client, good)
        client.rpc("config.load", {})
        made = {
            "good": good,
            "bad": submit(
                client, "x", job={"name": "q-bad"}, exec={"test": {"run_duration": "1ms", "wait_status": 256}}
            ),
            "late": submit(
                client, "x", job={"name": "q-late"}, duration=0.001, exec={"test": {"run_duration": "1h"}}
            ),
            "long": submit(client, "x", job={"name": "q-long"}, duration=1000),
        }
        held = {"J": signed(jobspec("x", job={"name": "q-held"})), "urgency": 0, "flags": 0}
        made["held"] = client.rpc("job-ingest.submit", held)["id"]
        wait(client, made["bad"], made["late"])
        until_state(client, made["long"], "start")
        yield made
        cancel(client, made["long"], made["held"])


NAMES = {"name": [f"q-{kind}" for kind in ("good", "bad", "late", "long", "held")]}


@pytest.mark.parametrize(
    ("constraint", "kinds"),
    [
        (NAMES, "good bad late long held"),
        ({"and": [NAMES, {"userid": [UID]}]}, "good bad late long held"),
        ({"and": [NAMES, {"userid": [UID + 1]}]}, ""),
        ({"and": [NAMES, {"userid": [0xFFFFFFFF]}]}, "good bad late long held"),
        ({"and": [NAMES, {"states": [PENDING]}]}, "held"),
        ({"and": [NAMES, {"states": ["running", "pending"]}]}, "long held"),
        ({"and": [NAMES, {"states": [INACTIVE]}]}, "good bad late"),
        ({"and": [NAMES, {"results": [COMPLETED]}]}, "good"),
        ({"and": [NAMES, {"results": ["failed", TIMEOUT]}]}, "bad late"),
        ({"and": [NAMES, {"queue": ["q1", "q2"]}]}, "good"),
        ({"and": [NAMES, {"not": [{"states": [INACTIVE]}]}]}, "long held"),
        ({"and": [NAMES, {"or": [{"name": ["q-bad"]}, {"states": [PENDING]}]}]}, "bad held"),
        ({"and": [NAMES, {"or": []}]}, "good bad late long held"),
        ({"and": [NAMES, {"and": []}]}, "good bad late long held"),
        ({"and": [NAMES, {"hostlist": [socket.gethostname()]}]}, "good bad late long"),
        ({"and": [NAMES, {"hostlist": ["sim[1-9],other"]}]}, ""),
        ({"and": [NAMES, {"ranks": ["0-3"]}]}, "good bad late long"),
        ({"and": [NAMES, {"ranks": ["1"]}]}, ""),
        ({"and": [NAMES, {"t_submit": [">1"]}]}, "good bad late long held"),
        ({"and": [NAMES, {"t_depend": [">=1"]}]}, "good bad late long held"),
        ({"and": [NAMES, {"t_run": [">=0.0"]}]}, "good bad late long"),
        ({"and": [NAMES, {"t_cleanup": [">0"]}]}, "good bad late"),
        ({"and": [NAMES, {"t_inactive": ["<1"]}]}, ""),
    ],
)  # fmt: skip
def test_jobs_are_selected_by_every_operator(
    client: MinimalClient, jobs: dict[str, int], constraint: Any, kinds: str
) -> None:
    assert set(ids(client, constraint)) == {jobs[kind] for kind in kinds.split()}


def test_comparisons_of_times_are_exact(client: MinimalClient, jobs: dict[str, int]) -> None:
    job = client.rpc("job-list.list-id", {"id": jobs["good"], "attrs": ["t_submit"]})["job"]
    when = repr(job["t_submit"])
    for sign, found in ((">", False), (">=", True), ("<", False), ("<=", True)):
        both = {"and": [{"name": ["q-good"]}, {"t_submit": [f"{sign}{when}"]}]}
        assert bool(ids(client, both)) is found


def test_lists_are_limited_by_number_and_time(client: MinimalClient, jobs: dict[str, int]) -> None:
    assert len(ids(client, NAMES, max_entries=2)) == 2
    ended = client.rpc("job-list.list-id", {"id": jobs["late"], "attrs": ["t_inactive"]})["job"]["t_inactive"]
    assert set(ids(client, NAMES, since=ended)) == {jobs["long"], jobs["held"]}


def test_every_attribute_has_a_name_and_a_job_shows_those_it_has(
    client: MinimalClient, jobs: dict[str, int]
) -> None:
    attrs = client.rpc("job-list.list-attrs")["attrs"]
    fluxs = (
        "userid urgency priority t_submit t_depend t_run t_cleanup t_inactive state name cwd queue project bank ntasks"
        " ncores duration nnodes ranks nodelist success exception_occurred exception_type exception_severity"
        " exception_note result expiration annotations waitstatus dependencies all"
    )
    assert {*fluxs.split(), "t_sched", "t_priority"} == set(attrs)
    good = client.rpc("job-list.list-id", {"id": jobs["good"], "attrs": ["all"]})["job"]
    assert {key: good[key] for key in ("queue", "project", "bank", "ranks", "success", "result")} == {
        "queue": "q1", "project": "p", "bank": "b", "ranks": "0", "success": True, "result": COMPLETED,
    }  # fmt: skip
    late = client.rpc("job-list.list-id", {"id": jobs["late"], "attrs": ["all"]})["job"]
    shown = (late["result"], late["exception_occurred"], late["exception_type"], late["exception_severity"])
    assert shown == (TIMEOUT, True, "timeout", 0)
    assert "t_run" not in client.rpc("job-list.list-id", {"id": jobs["held"], "attrs": ["all"]})["job"]


@pytest.mark.parametrize(
    ("more", "errnum", "part"),
    [
        ({"max_entries": -1}, EPROTO, "invalid payload: max_entries < 0 not allowed"),
        ({"since": -1.0}, EPROTO, "invalid payload: since < 0.0 not allowed"),
        ({"attrs": "all"}, EPROTO, "attrs"),
        ({"attrs": ["nosuch"]}, EINVAL, "nosuch is not a valid attribute"),
        ({"constraint": {"nosuch": []}}, EPROTO, "constraint object invalid: unknown constraint operator: nosuch"),
        ({"constraint": {"name": "x"}}, EPROTO, "constraint object invalid: operator name values not an array"),
        ({"constraint": {"name": [], "queue": []}}, EPROTO, "constraint object invalid: constraint must"),
        ({"constraint": {"userid": ["me"]}}, EPROTO, "constraint object invalid: userid value must be an integer"),
        ({"constraint": {"states": ["nosuch"]}}, EPROTO, "constraint object invalid: invalid states value"),
        ({"constraint": {"states": [1024]}}, EPROTO, "constraint object invalid: invalid states value"),
        ({"constraint": {"results": [16]}}, EPROTO, "constraint object invalid: invalid results value"),
        ({"constraint": {"hostlist": ["a["]}}, EPROTO, "host value not in valid Hostlist format"),
        ({"constraint": {"ranks": ["x"]}}, EPROTO, "constraint object invalid: not a set of ranks"),
        ({"constraint": {"t_run": ["12"]}}, EPROTO, "timestamp comparison operator not specified"),
        ({"constraint": {"t_run": [">-1"]}}, EPROTO, "timestamp value must be >= 0.0"),
        ({"constraint": {"t_run": []}}, EPROTO, "timestamp value not specified"),
        ({"constraint": {"and": [{"or": [{"x": []}]}]}}, EPROTO, "unknown constraint operator: x"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_is_refused_in_words(
    client: MinimalClient, more: dict[str, Any], errnum: int, part: str
) -> None:
    frame = client.raw("job-list.list", {"max_entries": 1, "attrs": ["all"], **more})
    assert frame.errnum == errnum and part in frame.text


# -- job-manager


def test_a_held_job_is_released_by_its_urgency(client: MinimalClient) -> None:
    held = {"J": signed(jobspec("x", duration=0.001)), "urgency": 0, "flags": 0}
    job = client.rpc("job-ingest.submit", held)["id"]
    assert client.rpc("job-manager.urgency", {"id": job, "urgency": 31}) == {"old_urgency": 0}
    wait(client, job)
    events = {event["name"]: event.get("context") for event in log(client, job, "eventlog")}
    assert events["urgency"] == {"urgency": 31, "userid": UID}
    frame = client.raw("job-manager.urgency", {"id": job, "urgency": 32})
    assert (frame.errnum, frame.text[:7]) == (EINVAL, "urgency")
    assert client.errnum("job-manager.urgency", {"id": 5, "urgency": 16}) == EINVAL


def test_a_signal_ends_a_job_and_only_a_running_one_gets_it(
    client: MinimalClient, jobs: dict[str, int]
) -> None:
    job = submit(client, "x", duration=1000)
    until_state(client, job, "start")
    assert client.raw("job-manager.kill", {"id": job, "signum": 9}).payload is None
    assert client.rpc("job-manager.wait", {"id": job, "claim": False})["status"] == 9
    frame = client.raw("job-manager.kill", {"id": jobs["held"], "signum": 9})
    assert (frame.errnum, frame.text) == (EINVAL, "job is not running")
    frame = client.raw("job-manager.kill", {"id": jobs["long"], "signum": 99})
    assert frame.errnum == EINVAL and frame.text == "Invalid signal number"


def test_all_jobs_of_a_user_are_signalled_or_get_an_exception(
    client: MinimalClient, jobs: dict[str, int]
) -> None:
    more = [submit(client, "x", duration=1000) for _ in range(2)]
    for job in more:
        until_state(client, job, "start")
    wish = {"userid": UID, "signum": 10, "dry_run": True}
    assert client.rpc("job-manager.killall", wish) == {"count": 3, "errors": 0}
    assert client.rpc("job-manager.killall", {**wish, "userid": UID + 1, "dry_run": False})["count"] == 0
    wish = {"userid": 0xFFFFFFFF, "states": RUNNING, "type": "cancel", "severity": 0, "dry_run": True}
    assert client.rpc("job-manager.raiseall", wish) == {"count": 3, "errors": 0}
    assert client.rpc("job-manager.raiseall", {**wish, "states": PENDING, "type": "remark", "severity": 7}) == {
        "count": 1, "errors": 0,
    }  # fmt: skip
    assert client.errnum("job-manager.raiseall", {**wish, "severity": 9}) == EPROTO
    cancel(client, *more)


def test_exceptions_have_a_type_and_a_severity(client: MinimalClient, jobs: dict[str, int]) -> None:
    client.rpc("job-manager.raise", {"id": jobs["long"], "type": "remark", "severity": 7, "note": "hm"})
    until_state(client, jobs["long"], "exception")
    [raised] = [
        event["context"]
        for event in map(
            json.loads,
            client.rpc("job-info.lookup", {"id": jobs["long"], "keys": ["eventlog"]})[
                "eventlog"
            ].splitlines(),
        )
        if event["name"] == "exception"
    ]
    assert raised == {"type": "remark", "severity": 7, "userid": UID, "note": "hm"}
    assert client.errnum("job-manager.raise", {"id": jobs["long"], "type": "x", "severity": 8}) == EPROTO
    frame = client.raw("job-manager.raise", {"id": jobs["good"], "type": "cancel", "severity": 0})
    assert (frame.errnum, frame.text) == (ENOENT, "job is inactive")


def test_the_queue_is_closed_stopped_idle_and_opened(
    client: MinimalClient, jobs: dict[str, int], connect: Callable[..., MinimalClient]
) -> None:
    client.rpc("job-manager.queue-enable", {"enable": False, "all": True, "reason": "maintenance"})
    status = client.rpc("job-manager.queue-status", {})
    assert status == {"enable": False, "start": True, "disable_reason": "maintenance"}
    frame = client.raw("job-ingest.submit", {"J": signed(jobspec("x")), "urgency": 16, "flags": 0})
    assert (frame.errnum, frame.text) == (EINVAL, "job submission is disabled: maintenance")
    client.rpc("job-manager.queue-enable", {"enable": True, "all": True})
    client.rpc("job-manager.queue-start", {"start": False, "all": True, "reason": "pause"})
    assert client.rpc("job-manager.queue-status", {}) == {
        "enable": True,
        "start": False,
        "stop_reason": "pause",
    }
    job = submit(client, "x", duration=0.001)
    waiting = connect()
    tag = waiting.send("job-manager.idle")
    cancel(client, jobs["long"])
    assert waiting.answer(tag).json == {"pending": 2}  # the held one, and the one that gets no resources
    client.rpc("job-manager.queue-start", {"start": True, "all": True})
    wait(client, job)
    for topic, payload in (("status", {}), ("enable", {"enable": True}), ("start", {"start": True})):
        frame = client.raw(f"job-manager.queue-{topic}", {**payload, "name": "q1"})
        assert frame.errnum == EINVAL and frame.text == "'q1' is not a valid queue"


def test_nothing_waitable_is_no_child(client: MinimalClient) -> None:
    assert client.errnum("job-manager.wait", {"id": (1 << 64) - 1}) == ECHILD
    assert client.errnum("job-manager.wait", {"id": 5}) == ECHILD
    assert client.errnum("job-manager.wait", {"id": 5, "claim": False}) == ENOENT


# -- job-ingest


def other(header: bytes, payload: bytes) -> str:
    return f"{base64.b64encode(header).decode()}.{base64.b64encode(payload).decode()}.none"


HEADER = b"version\0i1\0userid\0i%d\0mechanism\0snone\0" % UID


@pytest.mark.parametrize(
    ("J", "part"),
    [
        ("x", "HEADER.PAYLOAD.SIGNATURE"),
        ("!.!.none", "J: HEADER is not base64"),
        (other(HEADER.replace(b"snone", b"smunge"), b"{}"), "mechanism none, not 'munge'"),
        (other(HEADER.replace(b"i1", b"i9"), b"{}"), "header must have version 1"),
        (other(HEADER, b"no json"), "jobspec is not JSON"),
        (other(HEADER, b"[]"), "jobspec must be a JSON object"),
        (signed({}), "resources is missing"),
        (signed({**jobspec("x"), "version": 2}), "version must be 1, not 2"),
        (signed({**jobspec("x"), "tasks": []}), "tasks must be a list of one task"),
        (signed(jobspec("x"), UID + 1), "sent by user"),
        ("x" * (3 << 20), "at most 2 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_job_is_refused_in_words(client: MinimalClient, J: str, part: str) -> None:
    frame = client.raw("job-ingest.submit", {"J": J, "urgency": 16, "flags": 0})
    assert frame.errnum == EINVAL and part in frame.text


def test_an_urgency_out_of_range_and_a_payload_without_job_are_refused(client: MinimalClient) -> None:
    assert (
        client.errnum("job-ingest.submit", {"J": signed(jobspec("x")), "urgency": 99, "flags": 0}) == EINVAL
    )
    assert client.errnum("job-ingest.submit", {"urgency": 16, "flags": 0}) == EPROTO


# -- job-info


def test_lookups_decode_and_show_what_is_current_if_asked(
    client: MinimalClient, jobs: dict[str, int]
) -> None:
    request = {"id": jobs["good"], "keys": ["jobspec", "R"], "flags": 1}
    found = client.rpc("job-info.lookup", request)
    assert found["jobspec"]["version"] == 1 and found["R"]["execution"]["nodelist"] == [socket.gethostname()]
    assert found["id"] == jobs["good"]
    plain = client.rpc("job-info.lookup", {**request, "flags": 0})
    assert json.loads(plain["R"]) == found["R"]
    assert client.errnum("job-info.lookup", {"id": jobs["held"], "keys": ["R"], "flags": 0}) == ENOENT


def test_an_update_watch_has_the_record_and_ends_with_the_job(client: MinimalClient) -> None:
    job = submit(client, "x", duration=1000)
    until_state(client, job, "start")
    tag = client.send("job-info.update-watch", {"id": job, "key": "R", "flags": 0}, flags=STREAMING)
    frames = client.responses(tag)
    assert next(frames).json["R"]["version"] == 1
    cancel(client, job)
    assert next(frames).errnum == 61
    assert client.errnum("job-info.update-watch", {"id": job, "key": "R", "flags": 0}) == EPROTO  # no stream
    [end] = client.stream("job-info.update-watch", {"id": job, "key": "J", "flags": 0})
    assert end.errnum == EINVAL
