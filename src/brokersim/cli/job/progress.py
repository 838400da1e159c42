"""Knows how the progress of many jobs is shown on a terminal's stderr; not how they are submitted."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Final, Self

import click

from brokersim.cli.session import Session

#: Seconds before a bar appears: what is over sooner needs none.
DELAY: Final = 1.0
#: Seconds between two draws.
PERIOD: Final = 0.2


def progress_option(command: Any) -> Any:
    """``--progress true|false``; without it, whether stderr is a terminal decides."""
    return click.option(
        "--progress", type=click.BOOL, metavar="true|false", help="a progress bar  [on a terminal]"
    )(command)


class Progress:
    """A bar with counts and rate; a context manager, gone when left. Does nothing if no bar is wanted.

    Forced by ``--progress true`` on a stderr that is no terminal, it prints one last line instead of a bar.
    """

    def __init__(self, session: Session, total: int, wanted: bool | None, *, until_done: bool) -> None:
        terminal = sys.stderr.isatty()
        self._session = session
        self._total = total
        self._draws = terminal and wanted is not False and not session.quiet
        self._line = bool(wanted) and not terminal
        self._until_done = until_done
        self._start = self._next = time.monotonic()
        self._next += DELAY
        self._submitted = 0
        self._done = 0
        self._bar: Any = None
        self._task: Any = None

    def submitted(self) -> None:
        """One more job was accepted."""
        self._submitted += 1
        self._tick()

    def done(self) -> None:
        """One more job is inactive."""
        self._done += 1
        self._tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._line:
            self._session.say(self._text())

    def _tick(self) -> None:
        if not self._draws:
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PERIOD
            self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            self._begin()
        self._bar.update(self._task, completed=self._count, description=self._text(), refresh=True)

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", total=self._total)
        self._bar.start()

    @property
    def _count(self) -> int:
        return self._done if self._until_done else self._submitted

    def _text(self) -> str:
        elapsed = time.monotonic() - self._start
        rate = f"{self._count / elapsed:,.1f} job/s" if elapsed > 0 else ""
        active = self._submitted - self._done
        states = f"  active {active:,}  inactive {self._done:,}" if self._until_done else ""
        return f"submitted {self._submitted:,}{states}  {rate}"
