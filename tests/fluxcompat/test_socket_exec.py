"""What `flux exec` asks (service rexec, RFC 42), asked by a client that shares no code with the server."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import NORESPONSE, STREAMING, MinimalClient

STDOUT, STDERR, WRITE_CREDIT, WAITABLE = 1, 2, 8, 16
ENOENT, ESRCH, EACCES, EBUSY, EEXIST, EINVAL, ENOSPC, ENODATA, EPROTO = 2, 3, 13, 16, 17, 22, 28, 61, 71


def cmd(*words: str, **more: Any) -> dict[str, Any]:
    return {"cwd": "/", "cmdline": list(words), "env": {}, "opts": {}, "channels": [], **more}


def start(
    client: MinimalClient, *words: str, flags: int = STDOUT | STDERR, rank: int = 0, **more: Any
) -> int:
    """The matchtag of a running command."""
    return client.send("rexec.exec", {"cmd": cmd(*words, **more), "flags": flags}, rank, STREAMING)


def said(frames: list[Any]) -> list[dict[str, Any]]:
    return [frame.json for frame in frames if not frame.errnum]


def text(answers: list[dict[str, Any]], stream: str = "stdout") -> list[str]:
    return [one["io"]["data"] for one in answers if one["type"] == "output" and one["io"]["stream"] == stream
            and "data" in one["io"]]  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
def test_a_command_runs_on_the_rank_asked_and_its_output_comes_in_lines(
    client: MinimalClient, rank: int
) -> None:
    script = "echo one; echo two; echo err >&2; pwd; exit 3"
    *answers, end = client.responses(start(client, "sh", "-c", script, rank=rank, cwd="/tmp"))
    told = said(answers)
    pid = told[0]["pid"]
    assert told[0] == {"type": "started", "pid": pid}
    assert {"type": "finished", "status": 3 << 8} in told
    assert (end.errnum, end.payload) == (ENODATA, None)
    assert text(told) == ["one\n", "two\n", "/tmp\n"]
    assert text(told, "stderr") == ["err\n"]
    outputs = [one for one in told if one["type"] == "output"]
    assert {
        "type": "output",
        "pid": pid,
        "io": {"stream": "stdout", "rank": str(rank), "data": "one\n"},
    } in outputs
    ends = sorted(one["io"]["stream"] for one in outputs if one["io"].get("eof"))
    assert ends == ["stderr", "stdout"]


def test_only_what_the_flags_ask_for_is_forwarded(client: MinimalClient) -> None:
    frames = list(client.responses(start(client, "sh", "-c", "echo out; echo err >&2", flags=0)))
    assert [one["type"] for one in said(frames)] == ["started", "finished"]


def test_it_has_the_environment_given_or_the_brokers_and_its_ranks_uri(
    client: MinimalClient, uri: str
) -> None:
    given = said(list(client.responses(start(client, "/usr/bin/env", env={"A": "1"}, rank=1))))
    where = uri.replace("local-0", "local-1")
    assert sorted(text(given)) == ["A=1\n", f"BROKERSIM_URI={where}\n", f"FLUX_URI={where}\n"]
    own = "".join(text(said(list(client.responses(start(client, "/usr/bin/env"))))))
    assert "PATH=" in own and f"FLUX_URI={uri}\n" in own


def test_input_is_written_against_credit_and_ended(client: MinimalClient) -> None:
    tag = start(client, "cat", flags=STDOUT | STDERR | WRITE_CREDIT)
    frames = client.responses(tag)
    assert next(frames).json["type"] == "started"
    assert next(frames).json == {"type": "add-credit", "channels": {"stdin": 4194304}}
    for io in (
        {"data": "a\n"},
        {"data": base64.b64encode(b"\xff\n").decode(), "encoding": "base64"},
        {"eof": True},
    ):
        payload = {"matchtag": tag, "io": {"stream": "stdin", "rank": "0", **io}}
        client.send("rexec.write", payload, flags=NORESPONSE)
    told = said(list(frames))
    assert sum(one["channels"]["stdin"] for one in told if one["type"] == "add-credit") == 4
    assert text(told) == ["a\n", "/wo="]
    assert {"type": "finished", "status": 0} in told


def test_more_input_than_there_is_credit_for_ends_the_process(client: MinimalClient) -> None:
    tag = start(client, "sleep", "100")
    for _ in range(5):
        io = {"stream": "stdin", "rank": "0", "data": "x" * (1 << 20)}
        client.send("rexec.write", {"matchtag": tag, "io": io}, flags=NORESPONSE)
    *_, end = client.responses(tag)
    assert (end.errnum, end.text) == (ENOSPC, "internal fatal error: No space left on device")


def test_nobody_else_writes_to_a_process(
    client: MinimalClient, connect: Callable[..., MinimalClient]
) -> None:
    tag = start(client, "cat")
    frames = client.responses(tag)
    next(frames)
    other = connect()
    write = {"matchtag": tag, "io": {"stream": "stdin", "rank": "0", "data": "not mine"}}
    other.send("rexec.write", write, flags=NORESPONSE)
    other.rpc("rexec.list")  # by now it was taken, or not
    end = {"matchtag": tag, "io": {"stream": "stdin", "rank": "0", "data": "mine", "eof": True}}
    client.send("rexec.write", end, flags=NORESPONSE)
    assert text(said(list(frames))) == ["mine"]


def test_a_running_process_is_listed_and_killed(client: MinimalClient) -> None:
    frames = client.responses(start(client, "sleep", "100", label="mine"))
    pid = next(frames).json["pid"]
    listed = client.rpc("rexec.list")
    assert listed["rank"] == 0
    [shown] = [one for one in listed["procs"] if one["pid"] == pid]
    assert (shown["cmd"], shown["label"], shown["state"]) == ("sleep", "mine", "R")
    assert sorted(shown) == [
        "cmd",
        "label",
        "pid",
        "state",
    ]  # Flux's command makes an object of these, no others
    assert client.raw("rexec.kill", {"pid": pid, "signum": 15}).payload is None
    assert {"type": "finished", "status": int(signal.SIGTERM)} in said(list(frames))
    frame = client.raw("rexec.kill", {"pid": pid, "signum": 15})
    assert (frame.errnum, frame.text) == (ESRCH, f"pid {pid} does not belong to any subprocess")
    assert pid not in [one["pid"] for one in client.rpc("rexec.list")["procs"]]


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):  # gone, or gone while it was read
        return False


def test_a_client_that_leaves_takes_its_processes_with_it(connect: Callable[..., MinimalClient]) -> None:
    leaving = connect()
    frames = leaving.responses(start(leaving, "sh", "-c", "sleep 100 & echo $!; wait"))
    answers = [next(frames).json for _ in range(2)]
    pids = [answers[0]["pid"], int(text(answers)[0])]
    assert all(map(is_alive, pids))
    leaving.close()
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        os.sched_yield()


def test_who_waits_for_a_process_that_has_exited_waits_for_what_it_left_to_be_said(
    client: MinimalClient,
) -> None:
    """What the shell started holds its output open: it has exited, and is not over."""
    words = cmd("sh", "-c", "(sleep 0.2; echo late) & echo early; exit 5")
    started = client.rpc("rexec.exec", {"cmd": words, "flags": WAITABLE})

    def states() -> list[str]:
        procs = client.rpc("rexec.list")["procs"]
        return [one["state"] for one in procs if one["pid"] == started["pid"]]

    while states() == ["R"]:
        pass
    assert states() == ["Z"]
    done = client.rpc("rexec.wait", {"pid": started["pid"]})
    assert (done["status"], [io["data"] for io in done["output"]]) == (5 << 8, ["early\n", "late\n"])
    assert states() == []


def test_a_background_process_is_waited_for_and_outlives_its_client(
    client: MinimalClient, connect: Callable[..., MinimalClient]
) -> None:
    leaving = connect()
    started = leaving.rpc("rexec.exec", {"cmd": cmd("sh", "-c", "echo kept; exit 5"), "flags": WAITABLE})
    assert started == {"type": "started", "pid": started["pid"]}
    leaving.close()
    io = {"stream": "stdout", "rank": "0", "data": "kept\n"}
    assert client.rpc("rexec.wait", {"pid": started["pid"]}) == {"status": 5 << 8, "output": [io]}
    assert client.errnum("rexec.wait", {"pid": started["pid"]}) == ESRCH
    other = client.rpc("rexec.exec", {"cmd": cmd("sleep", "100"), "flags": 0})
    frame = client.raw("rexec.wait", {"pid": other["pid"]})
    assert (frame.errnum, frame.text) == (EINVAL, "process is not waitable")
    client.rpc("rexec.kill", {"pid": other["pid"], "signum": 9})


def test_a_piece_too_long_to_be_kept_leaves_what_was_kept(client: MinimalClient) -> None:
    script = "echo kept; head -c 9000 /dev/zero | tr '\\0' x; echo"
    started = client.rpc("rexec.exec", {"cmd": cmd("sh", "-c", script), "flags": WAITABLE})
    done = client.rpc("rexec.wait", {"pid": started["pid"]})
    assert [io["data"] for io in done["output"]] == ["kept\n"]


def test_the_oldest_of_what_is_kept_makes_room(client: MinimalClient) -> None:
    script = "for n in 1 2 3; do head -c 4000 /dev/zero | tr '\\0' $n; echo; done"
    started = client.rpc("rexec.exec", {"cmd": cmd("sh", "-c", script), "flags": WAITABLE})
    done = client.rpc("rexec.wait", {"pid": started["pid"]})
    assert [io["data"][0] for io in done["output"]] == ["2", "3"]


def test_one_client_at_a_time_waits(client: MinimalClient, connect: Callable[..., MinimalClient]) -> None:
    started = client.rpc("rexec.exec", {"cmd": cmd("sleep", "100"), "flags": WAITABLE})
    waiting = client.send("rexec.wait", {"pid": started["pid"]})
    client.rpc("rexec.list")  # by now the first waits
    frame = connect().raw("rexec.wait", {"pid": started["pid"]})
    assert (frame.errnum, frame.text) == (EINVAL, "process is already being waited on")
    attached = refusal(client, client.send("rexec.attach", {"pid": started["pid"], "flags": 1}, 0, STREAMING))
    assert attached == (EBUSY, "subprocess is being waited on")
    client.rpc("rexec.kill", {"pid": started["pid"], "signum": 9})
    assert client.answer(waiting).json == {"status": 9}


def test_only_input_is_written(client: MinimalClient) -> None:
    tag = start(client, "cat")
    for io in (
        {"stream": "stdout", "data": "other", "eof": True},
        {"stream": "stdin", "data": "in", "eof": True},
    ):
        client.send("rexec.write", {"matchtag": tag, "io": io}, flags=NORESPONSE)
    assert text(said(list(client.responses(tag)))) == ["in"]


def test_the_log_tells_of_what_runs_in_the_background_and_of_nothing_else(client: MinimalClient) -> None:
    client.rpc("log.clear")
    list(client.responses(start(client, "sh", "-c", "echo front; exit 1")))
    for script in ("echo out; echo err >&2; exit 3", "kill -9 $$"):
        words = cmd("sh", "-c", script, label="here")
        started = client.rpc("rexec.exec", {"cmd": words, "flags": WAITABLE})
        client.rpc("rexec.wait", {"pid": started["pid"]})
    frames = list(client.stream("log.dmesg", {"follow": False, "nobacklog": False}))
    lines = [frame.text for frame in frames if " rexec - - - " in (frame.text or "")]
    told = sorted((line.partition(">")[0], line.rpartition("]: ")[2]) for line in lines)
    info, error = "<48", "<24"  # eight times the level
    assert told == sorted([(error, "err"), (info, "Exit 3"), (info, "Killed by signal 9"), (info, "out")])
    assert all("here: sh[" in line for line in lines)


def attach(client: MinimalClient, label: str, flags: int = STDOUT) -> int:
    return client.send("rexec.attach", {"pid": -1, "label": label, "flags": flags}, 0, STREAMING)


def refusal(client: MinimalClient, tag: int) -> tuple[int, str]:
    frame = client.answer(tag)
    return frame.errnum, frame.text


def test_who_attaches_to_a_background_process_sees_it_end_and_may_leave_it(
    client: MinimalClient, connect: Callable[..., MinimalClient], tmp_path: Path
) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo seen; exit 4"
    started = client.rpc("rexec.exec", {"cmd": cmd("sh", "-c", script, label="run"), "flags": 0})
    leaving, staying = connect(), connect()
    told = leaving.answer(attach(leaving, "run")).json
    assert told == {"type": "attached", "pid": started["pid"], "cmd": cmd("sh", "-c", script, label="run")}
    assert refusal(staying, attach(staying, "run")) == (EBUSY, "subprocess already has a client attached")
    leaving.close()
    while (tag := attach(staying, "run")) and (first := staying.answer(tag)).errnum:
        assert first.errnum == EBUSY  # the other one's leaving is on its way
    (tmp_path / "go").touch()
    *answers, end = staying.responses(tag)
    assert (text(said(answers)), end.errnum) == (["seen\n"], ENODATA)
    assert {"type": "finished", "status": 4 << 8} in said(answers)
    assert refusal(staying, attach(staying, "run")) == (ENOENT, "label run does not belong to any subprocess")


def test_one_that_waits_to_be_waited_for_is_told_to_who_attaches_and_forgotten(client: MinimalClient) -> None:
    client.rpc("rexec.exec", {"cmd": cmd("sh", "-c", "exit 7", label="z"), "flags": WAITABLE})
    while client.rpc("rexec.list")["procs"][-1]["state"] != "Z":
        pass
    *answers, end = client.responses(attach(client, "z", STDOUT | STDERR))
    kinds = [(one["type"], one.get("io", {}).get("eof")) for one in said(answers)]
    assert kinds[0] == ("attached", None) and kinds[-1] == ("finished", None) and end.errnum == ENODATA
    assert kinds[1:-1] == [("output", True), ("output", True)]
    assert said(answers)[-1]["status"] == 7 << 8
    assert client.errnum("rexec.wait", {"pid": -1, "label": "z"}) == ESRCH


def test_a_label_is_known_from_the_moment_its_command_was_asked_for(client: MinimalClient) -> None:
    for number in range(20):
        name = f"soon{number}"
        running = start(client, "sleep", "100", label=name)
        client.rpc("rexec.kill", {"pid": -1, "label": name, "signum": 9})
        frames = client.responses(running)
        assert [one["status"] for one in said(list(frames)) if one["type"] == "finished"] == [9]


def test_what_cannot_be_attached_to_is_refused_in_words(client: MinimalClient) -> None:
    start(client, "sleep", "100", label="front")
    client.rpc("rexec.exec", {"cmd": cmd("sleep", "100", label="back"), "flags": WAITABLE})
    assert client.errnum("rexec.attach", {"pid": -1, "label": "back", "flags": 1}) == EPROTO
    assert refusal(client, attach(client, "front")) == (EBUSY, "subprocess is not in background mode")
    client.answer(attach(client, "back"))
    waited = client.raw("rexec.wait", {"pid": -1, "label": "back"})
    assert (waited.errnum, waited.text) == (EBUSY, "subprocess has a client attached")
    client.rpc("rexec.kill", {"pid": -1, "label": "back", "signum": 9})


@pytest.mark.parametrize(
    ("payload", "errnum", "part"),
    [
        ({"cmd": cmd("/nowhere/x"), "flags": 0}, ENOENT, "error launching process: No such file or directory"),
        ({"cmd": cmd("/etc/passwd"), "flags": 0}, EACCES, "error launching process: Permission denied"),
        ({"cmd": cmd(), "flags": 0}, EPROTO, "command string is empty"),
        ({"cmd": cmd("a\0b"), "flags": 0}, EINVAL, "error parsing command string"),
        ({"cmd": cmd("true", channels=["x"]), "flags": 0}, EINVAL, "auxiliary channels"),
        ({"cmd": cmd("true"), "flags": WAITABLE}, EINVAL, "waitable flag only supported in background mode"),
        ({"cmd": cmd("true", env={"A=B": "c"}), "flags": 0}, EINVAL, "error parsing command string"),
        ({"cmd": cmd("true", env={"": "c"}), "flags": 0}, EINVAL, "error parsing command string"),
        ({"cmd": cmd("true")}, EPROTO, "flags"),
        ({"cmd": {"cwd": "/"}, "flags": 0}, EPROTO, "cmdline"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_run_is_refused_in_words(
    client: MinimalClient, payload: dict[str, Any], errnum: int, part: str
) -> None:
    [frame] = client.stream("rexec.exec", payload, 0)
    assert frame.errnum == errnum and part in frame.text


def test_a_client_that_does_not_read_holds_the_process_up(client: MinimalClient) -> None:
    script = "yes 0123456789012345678901234567890123456789 | head -c 60000000; echo; echo done"
    frames = client.responses(start(client, "sh", "-c", script, opts={"stdout_LINE_BUFFER": "false"}))
    size = sum(len(part) for part in text(said(list(frames))))
    assert size == 60_000_000 + len("\ndone\n")  # more than a connection may leave unread: it was not cut off


def test_under_the_virtual_clock_all_is_told_in_order_and_a_command_may_let_time_pass(tmp_path: Path) -> None:
    """The command is real; time moves when a client of the instance in it waits for something that takes time."""
    from tests.cli.test_live import brokersim

    script = tmp_path / "script.sh"
    script.write_text(
        """script='echo one; sleep 0.1; brokersim job submit -t 1h --wait x > /dev/null; echo two >&2; echo three'
        brokersim rpc --stream rexec.exec '{"cmd":{"cmdline":["sh","-c","'"$script"'"]},"flags":3}'
        brokersim rpc state-machine.get
        printf 'b\na\n' | brokersim job run -x sort"""
    )
    done = brokersim(tmp_path, "start", "--clock", "virtual", "--", "sh", str(script))
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-2]]
    told = [one for one in lines if "type" in one]
    assert text(told) == ["one\n", "three\n"] and text(told, "stderr") == ["two\n"], done
    assert sum(bool(one.get("io", {}).get("eof")) for one in told) == 2
    assert {"type": "finished", "status": 0} in told
    [state] = [one for one in lines if "state" in one]
    assert state["duration"] > 3600
    assert done.stdout.endswith("a\nb\n")


def test_a_command_without_an_environment_has_what_was_set_for_its_rank(client: MinimalClient) -> None:
    client.rpc("broker.setenv", {"env": {"SET_FOR_RANK_1": "yes", "HOME": None}}, 1)
    try:
        lines = text(said(list(client.responses(start(client, "/usr/bin/env", rank=1)))))
        assert "SET_FOR_RANK_1=yes\n" in lines and not any(line.startswith("HOME=") for line in lines)
    finally:
        client.rpc("broker.setenv", {"env": {"SET_FOR_RANK_1": None, "HOME": os.environ.get("HOME")}}, 1)


def test_a_directory_that_is_not_there_is_no_reason_not_to_run(client: MinimalClient) -> None:
    told = said(list(client.responses(start(client, "pwd", cwd="/no/such"))))
    assert text(told) == ["/tmp\n"]
    assert text(told, "stderr") == [
        "Could not change dir to /no/such: No such file or directory. Going to /tmp instead\n"
    ]
    assert {"type": "finished", "status": 0} in told
