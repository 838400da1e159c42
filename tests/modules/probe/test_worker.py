"""A program that answers line by line, and the sink that tells the registry: what each makes of what it hears."""

from __future__ import annotations

import errno
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from brokersim.brokermod import RequestError
from modules.probe.contract import Field, Reading
from modules.probe.execution import GRACE, STDERR_MAX, Wish
from modules.probe.sending.series import Sample, to_series
from modules.probe.sinks.base import Down, Refused
from modules.probe.sinks.registry import Registry
from modules.probe.worker import LINE_MAX, Worker, WorkerGone


class Handle:
    rank = 2
    uuid = "u"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.timers: list[Any] = []
        self.refusal: RequestError | None = None
        self.told: Any = None

    def stream(self, topic: str, payload: Any, then: Any, arg: Any, nodeid: int) -> Any:
        self.asked.append((topic, payload))
        self.told = then
        return SimpleNamespace(matchtag=7)

    def request(self, topic: str, payload: Any, *_: Any, **__: Any) -> None:
        self.asked.append((topic, payload))

    def call_later(self, seconds: float, fn: Any, *args: Any) -> Any:
        self.timers.append((seconds, fn, args))
        return SimpleNamespace(cancel=self.timers.clear)

    def attr_get(self, name: str) -> str | None:
        return None

    async def call(self, topic: str, payload: Any) -> None:
        self.asked.append((topic, payload))
        if self.refusal is not None:
            raise self.refusal


def started() -> tuple[Handle, Worker, list[Any]]:
    handle = Handle()
    return handle, Worker(cast(Any, handle), Wish(programs=(("x",),), cwd=None)), []


def over(errnum: int, text: str = "") -> Any:
    return SimpleNamespace(errnum=errnum, payload_str=text)


def test_a_question_is_a_line_to_it_and_its_next_line_is_the_answer_however_it_comes():
    handle, worker, heard = started()
    worker.ask(heard.append, "now\n")
    topic, payload = handle.asked[-1]
    assert (topic, payload["matchtag"], payload["io"]["data"]) == ("rexec.write", 7, "now\n")
    worker.output("stdout", b"on")
    assert heard == []
    worker.output("stdout", b"e\ntw")
    worker.output("stdout", b"o\n")
    assert heard == [b"one"]
    worker.ask(heard.append)
    worker.output("stdout", b"three\n")
    assert heard == [b"one", b"three"]


@pytest.mark.parametrize("is_asked", [True, False])
def test_one_that_prints_too_much_is_killed_and_who_asks_is_told(is_asked):
    _, worker, heard = started()
    if is_asked:
        worker.ask(heard.append)
    worker.output("stdout", b"x" * LINE_MAX)
    assert not worker.has_ended
    worker.output("stdout", b"x")
    assert worker.has_ended
    what = "a line of" if is_asked else "without being asked"
    told = f"it printed {what} more than {LINE_MAX} bytes and was killed"
    assert [str(one) for one in heard] == ([told] if is_asked else []) and worker.trouble == (
        "" if is_asked else told
    )


def test_what_it_prints_behind_its_answer_counts_as_unasked_until_it_is_asked_again():
    _, worker, heard = started()
    worker.ask(heard.append)
    worker.output("stdout", b"a\n" + b"x" * LINE_MAX)
    worker.ask(heard.append)
    worker.output("stdout", b"b\n" + b"x" * LINE_MAX)
    assert heard == [b"a", b"b"] and not worker.has_ended


@pytest.mark.parametrize(
    ("status", "errors", "response", "says"),
    [
        (None, b"", over(errno.EHOSTUNREACH, "gone away"), "gone away"),
        (None, b"", over(errno.ENOENT), "No such file or directory"),
        (3 << 8, b"why\n", over(errno.ENODATA), "it ended: exit code 3: why"),
        (0, b"", over(errno.ENODATA), "it ended: exit code 0"),
    ],
)
def test_how_it_ended_is_told_to_who_waits_or_kept_for_who_asks_next(status, errors, response, says):
    for is_asked in (True, False):
        _, worker, heard = started()
        if is_asked:
            worker.ask(heard.append)
        worker.output("stderr", errors + b" " * 2 * STDERR_MAX)
        worker.output("stderr", b"more")
        if status is not None:
            worker.finished(status)
        worker.over(response)
        assert worker.has_ended and (worker.trouble or str(heard[0])) == says
        assert not is_asked or (isinstance(heard[0], WorkerGone) and len(heard) == 1)


def test_one_whose_end_was_our_wish_is_told_to_nobody_and_has_a_grace_before_it_is_killed():
    handle, worker, heard = started()
    worker.ask(heard.append)
    handle.told(SimpleNamespace(errnum=0, unpack=lambda _: {"type": "started", "pid": 99}), None)
    worker.end()
    worker.end()
    assert [payload for topic, payload in handle.asked if topic == "rexec.kill"] == [
        {"pid": 99, "signum": signal.SIGTERM}
    ]
    [(seconds, kill, args)] = handle.timers
    assert (seconds, args) == (GRACE, (signal.SIGKILL,))
    kill(*args)
    assert handle.asked[-1] == ("rexec.kill", {"pid": 99, "signum": signal.SIGKILL})
    worker.over(over(errno.ENODATA))
    assert heard == [] and worker.trouble == ""
    # Without a number it cannot be told to end yet: it is as soon as it has one.
    handle, worker, _ = started()
    worker.end()
    assert len(handle.asked) == 1
    handle.told(SimpleNamespace(errnum=0, unpack=lambda _: {"type": "started", "pid": 5}), None)
    assert handle.asked[-1] == ("rexec.kill", {"pid": 5, "signum": signal.SIGTERM})


# -- the registry


def test_the_registry_is_told_of_a_series_once_and_again_if_it_may_be_another_one():
    handle = Handle()
    sink = Registry(cast(Any, handle), {})
    reading = Reading(subject="node/0", metrics={"n": 1})
    series = [to_series("x", reading, name, Field(), "node/0", "raw") for name in ("a", "b")]

    def send(*which: int) -> list[bool]:
        """Of each series whether it was described."""
        trio.run(sink.send, [Sample(series[at], 2_000_000_000, 1, 5.0, False) for at in which], [])
        return ["subject" in one for one in handle.asked[-1][1]["series"]]

    assert send(0, 1, 0) == [True, True]
    assert handle.asked[-1][1]["series"][0]["samples"] == [[2.0, 5.0, 1]] * 2
    assert send(0, 1) == [False, False]
    sink.describe(series[0])
    assert send(0, 1) == [True, False]
    for number, kind, retry_after, is_known in (
        (errno.EINVAL, Refused, None, True), (errno.ENOENT, Down, 0.0, False), (errno.ENOSYS, Down, None, False)
    ):  # fmt: skip
        handle.refusal = RequestError(number, "why")
        with pytest.raises(kind, match="why") as caught:
            send(0)
        assert getattr(caught.value, "retry_after", None) == retry_after
        handle.refusal = None
        assert send(0, 1) == [not is_known] * 2
