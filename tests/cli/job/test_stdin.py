"""What a job reads: offered again while it has enough, and no more once it is over."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from brokersim.cli.job import stdin
from brokersim.protocol.errnums import ENOSPC, RequestError

SHELL = {"service": "7-shell-1", "leader-rank": 3}


class Client:
    """Answers in turn; None is a success."""

    def __init__(self, *answers: int | None, log: list[str] | None = None) -> None:
        self.answers = list(answers)
        self.log = log or []
        self.sent: list[Any] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def rpc(self, topic: str, payload: Any, rank: int) -> None:
        self.sent.append((topic, rank, payload))
        number = self.answers.pop(0) if self.answers else None
        if number is not None:
            raise RequestError(number)

    def stream(self, *_: Any, **__: Any) -> Any:
        return ({"event": line} for line in self.log)


def forwarded(monkeypatch: pytest.MonkeyPatch, client: Client, *pieces: bytes) -> list[Any]:
    """What was sent of these pieces, and how long was waited before it was sent again."""
    rest = list(pieces)
    monkeypatch.setattr(stdin, "_read", lambda: rest.pop(0) if rest else b"")
    monkeypatch.setattr(stdin.time, "sleep", lambda seconds: client.sent.append(seconds))
    monkeypatch.setattr(stdin.Client, "connect", lambda _: client)
    stdin._forward("local:///nowhere", 1)
    return client.sent


def io(**what: Any) -> tuple[str, int, Any]:
    return "7-shell-1.stdin", 3, {"stream": "stdin", "rank": "all", **what}


INIT = [
    '{"timestamp":1.0,"name":"init"}\n',
    '{"timestamp":1.0,"name":"shell.init","context":{"service":"7-shell-1","leader-rank":3}}\n',
]


def test_text_goes_as_it_is_bytes_as_base64_and_then_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forwarded(monkeypatch, Client(log=INIT), b"one\n", b"\xff") == [
        io(data="one\n"), io(data="/w==\n".strip(), encoding="base64"), io(eof=True),
    ]  # fmt: skip


def test_a_task_that_has_enough_is_asked_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forwarded(monkeypatch, Client(ENOSPC, ENOSPC, log=INIT), b"a") == [
        io(data="a"), stdin._PAUSE, io(data="a"), stdin._PAUSE, io(data="a"), io(eof=True),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSYS, errno.EPERM])
def test_a_job_that_is_over_or_refuses_gets_nothing_more(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert forwarded(monkeypatch, Client(number, log=INIT), b"a", b"b") == [io(data="a")]


def test_a_job_without_a_shell_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert forwarded(monkeypatch, Client(log=INIT[:1]), b"a") == []


def test_only_a_job_that_is_over_is_told_apart_from_one_that_refuses() -> None:
    assert not stdin._send(Client(errno.EPIPE), SHELL, {})  # type: ignore[arg-type]
    assert stdin._send(Client(), SHELL, {})  # type: ignore[arg-type]
    with pytest.raises(RequestError):
        stdin._send(Client(errno.EPERM), SHELL, {})  # type: ignore[arg-type]
