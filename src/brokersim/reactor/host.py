"""Knows what a reactor asks of whoever runs it: the time, a way in for other tasks. Not who that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol


class Host(Protocol):
    """Runs a reactor. It enters before anything happens in the loop, and leaves before others run."""

    #: Is there nobody outside the loop?
    is_alone: bool

    def now_ns(self) -> int:
        """The time now (ns)."""

    def post(self, fn: Callable[[], object]) -> None:
        """Call ``fn`` inside the loop, soon."""

    def wake(self) -> None:
        """Something is due earlier than the host waits for."""

    def passed(self, when: int) -> None:
        """The reactor has moved its time to ``when`` (ns) by itself."""

    async def wait_in_task(self, wait: Any) -> Any:
        """Await a `Wait` outside the loop."""


class Alone:
    """No host: whoever calls the reactor is inside the loop, and there is no other task."""

    is_alone = True

    def now_ns(self) -> int:
        """Nobody is outside to ask."""
        raise AssertionError("there is no outside here")

    def post(self, fn: Callable[[], object]) -> None:
        fn()

    def wake(self) -> None:
        """Nobody waits."""

    def passed(self, when: int) -> None:
        """There is no clock but the reactor's."""

    async def wait_in_task(self, wait: Any) -> NoReturn:
        raise RuntimeError("this reactor is not run by a trio task; await its waits in a stepped coroutine")
