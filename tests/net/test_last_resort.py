"""The thread that looks on, by a clock made up for it: when it names who holds the loop, when it ends the process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from brokersim.net import last_resort
from brokersim.net.last_resort import LastResort

LIMIT = 10.0


class Turning:
    """A reactor that has handed out something whenever one looks."""

    current = SimpleNamespace(name="kvs")

    def __init__(self) -> None:
        self._turns = itertools.count()

    @property
    def batches(self) -> int:
        return next(self._turns)


class Looked(LastResort):
    """Looks on at given times; ends nothing. A time as text is a signal that comes then."""

    def __init__(self, reactor: Any) -> None:
        self.said: list[str] = []
        super().__init__(reactor, LIMIT, self.said.append)
        self.ended: list[float] = []

    def _end(self, held: float) -> None:
        self.ended.append(held)

    def _hook(self) -> None:
        """No signal is listened to here."""

    def look(self, monkeypatch: pytest.MonkeyPatch, times: Iterator[float | str]) -> None:
        now = [0.0]

        def is_over(_seconds: float) -> bool:
            for at in times:
                if isinstance(at, str):
                    os.write(self._writer, b"a trace")
                now[0] = float(at)
                return False
            return True

        monkeypatch.setattr(last_resort.time, "monotonic", lambda: now[0])
        self._is_over.wait = is_over  # type: ignore[assignment]
        self._look_on()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Looked]]:
    made: list[Looked] = []

    def look(*times: float | str, reactor: object = None) -> Looked:
        one = Looked(reactor or SimpleNamespace(current=SimpleNamespace(name="kvs"), batches=-1))
        made.append(one)
        one.look(monkeypatch, iter(times))
        return one

    yield look
    for one in made:
        os.close(one._reader)
        os.close(one._writer)


def test_who_holds_the_loop_for_twice_the_limit_is_named_once(looked: Callable[..., Looked]) -> None:
    assert looked(2 * LIMIT - 0.1).said == []
    found = looked(2 * LIMIT, 3 * LIMIT)
    (line,) = found.said
    assert line.startswith("module 'kvs' has held the loop for 20 s (") and line.endswith(
        "ends this process, all of it"
    )
    assert found.ended == []


def test_a_loop_that_turns_or_rests_is_held_by_nobody(looked: Callable[..., Looked]) -> None:
    assert looked("50", 60.0, reactor=SimpleNamespace(current=None, batches=-1)).said == []
    turning = looked("50", 100.0, 151.0, reactor=Turning())
    assert (turning.said, turning.ended) == ([], [])


@pytest.mark.parametrize(
    ("times", "ended"),
    [
        (("9", 10.0), [10.0]),  # held for the limit, asked a second ago
        (("9.5", 10.0), []),  # it may still hear of it
        (("9", 9.99), []),  # not held for so long
        ((30.0,), []),  # nobody asked
        # Not held long when asked; two seconds later that is forgotten, at two it is not.
        (("7", 9.0, 10.0), [10.0]),
        (("7", 9.01, 10.0), []),
    ],
)
def test_a_signal_ends_what_holds_the_loop_past_its_limit(
    looked: Callable[..., Looked], times: tuple[float | str, ...], ended: list[float]
) -> None:
    assert looked(*times).ended == ended
