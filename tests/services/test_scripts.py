"""How the end of a command is told, and of a program that runs inside the broker for rexec."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from brokersim.protocol.errnums import ENODATA
from brokersim.routing import logring
from brokersim.services.inside import FIRST_PID, Insides
from brokersim.services.scripts import PROGRAM, how_it_ended, log_end


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (0, "Exited", 0),
        (3 << 8, "Exited", 3),
        (9, "Killed", 137),
        (33, "Signal 33", 161),
        (15 | 128, "Terminated", 143),
    ],
)
def test_a_wait_status_in_words_and_as_a_shell_has_it(status, words, code):
    assert how_it_ended(status) == (words, code)


@pytest.mark.parametrize(
    ("name", "code", "level"),
    [
        ("rc1.0", 0, logring.INFO),
        ("rc1.0", 1, logring.ERR),
        (PROGRAM, 0, logring.INFO),
        (PROGRAM, 1, logring.INFO),
    ],
)
def test_a_script_that_fails_is_an_error_and_what_a_program_means_by_its_code_is_its_own(name, code, level):
    lines: list[tuple[Any, ...]] = []
    broker = SimpleNamespace(write_log=lambda *words: lines.append(words))
    log_end(cast(Any, broker), name, "true", "Exited", code, 0.25)
    assert lines == [(level, "broker", f"{name}: true Exited (rc={code}) 0.2s")]


class Server:
    rank = 2

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.streams: list[Any] = []

    def respond(self, request: object, what: object) -> None:
        self.told.append(what)

    def respond_error(self, request: object, errnum: int) -> None:
        self.told.append(errnum)

    def add_stream(self, request: object, leave: object) -> None:
        self.streams.append(leave)

    def drop_stream(self, request: object) -> None:
        self.streams.clear()


class Running:
    def __init__(self) -> None:
        self.was: list[Any] = []

    def feed(self, data: bytes, is_end: bool) -> None:
        self.was.append((data, is_end))

    def kill(self, signum: int) -> None:
        self.was.append(signum)


def started(flags: int = 3, label: str | None = None) -> tuple[Server, Insides, Running, Any]:
    server, running = Server(), Running()
    insides = Insides(cast(Any, server))
    args = SimpleNamespace(flags=flags, cmd=SimpleNamespace(cmdline=["x", "y"], label=label))
    heard = []

    def program(words: list[str], listener: Any) -> Running:
        assert words == ["x", "y"]
        heard.append(listener)
        return running

    insides.start(cast(Any, SimpleNamespace(sender="s", matchtag=5)), cast(Any, args), cast(Any, program))
    return server, insides, running, heard[0]


def test_a_program_inside_is_told_of_like_a_process_and_forgotten_behind_its_end():
    server, insides, running, run = started(label="l")
    assert insides.to_list() == [{"pid": FIRST_PID + 1, "cmd": "x", "label": "l", "state": "R"}]
    assert insides.find(FIRST_PID + 1) is run is insides.asked_by("s", 5)
    assert insides.find(1) is None and insides.asked_by("s", 6) is None
    run.started()
    run.feed(b"in", True)
    run.kill(15)
    run.exited(256)
    assert server.told == [
        {"type": "started", "pid": FIRST_PID + 1}, {"type": "finished", "status": 256}, ENODATA
    ]  # fmt: skip
    assert running.was == [(b"in", True), 15] and not server.streams and not insides.to_list()
    for late in (
        lambda: run.exited(0),
        lambda: run.kill(9),
        lambda: run.feed(b"", True),
        lambda: run.output("stdout", b"x"),
    ):
        late()
    assert len(server.told) == 3 and len(running.was) == 2


def test_one_whose_asker_goes_is_killed_and_says_nothing_more():
    server, insides, running, run = started()
    [leave] = server.streams
    leave()
    assert running.was == [9] and not insides.to_list()
    run.started()
    run.exited(9)
    assert server.told == []


@pytest.mark.parametrize(
    ("flags", "told"), [(0, []), (1, ["stdout"]), (2, ["stderr"]), (3, ["stdout", "stderr"])]
)
def test_of_what_it_prints_that_is_passed_on_which_was_asked_for(flags, told):
    server, _, _, run = started(flags)
    for stream in ("stdout", "stderr"):
        run.output(stream, b"x")
    assert [one["io"]["stream"] for one in server.told] == told


def test_one_that_cannot_begin_is_not_listed():
    server = Server()
    insides = Insides(cast(Any, server))
    args = SimpleNamespace(flags=0, cmd=SimpleNamespace(cmdline=["x"], label=None))

    def program(words: list[str], listener: Any) -> Any:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        insides.start(cast(Any, SimpleNamespace(sender="s", matchtag=5)), cast(Any, args), program)
    assert not insides.to_list() and not server.streams
