"""Knows `top` without keys: a screen that is redrawn, blocks of text, JSON lines; and the file it records to."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs
import msgspec

from brokersim.cli.session import Session
from brokersim.cli.table import left_out
from brokersim.cli.top.rates import ASCII_BLOCKS, BLOCKS, Look, Row, View, arrange, compare, document
from brokersim.cli.top.read import Reader
from brokersim.cli.top.table import Line, block, grid, harmless_line, instance_lines, module_line, titles
from brokersim.protocol.decoded import JsonObject

#: Intervals the curve remembers: more than the widest terminal shows.
REMEMBERED: Final = 1000


class Watch:
    """What is remembered from look to look: the last one, and how many messages there were."""

    def __init__(self, sort: str = "rank", glob: str = "*", record: BinaryIO | None = None) -> None:
        self.sort = sort
        self.glob = glob
        self._last: Look | None = None
        self._record = record
        self.history: deque[float | None] = deque(maxlen=REMEMBERED)

    @property
    def has_begun(self) -> bool:
        """There was a look with which the next can be compared."""
        return self._last is not None

    def feed(self, look: Look) -> View:
        """The view of the interval that ends with this look; it is recorded unless it is the first."""
        view = compare(self._last, look)
        is_first, self._last = self._last is None, look
        if not is_first:
            self.history.append(view.messages)
            self._write(view)
        return view

    def _write(self, view: View) -> None:
        if self._record is None:
            return
        line = msgspec.json.encode(self.document(view)) + b"\n"
        try:
            while line:  # a disk that fills up takes a part, and says so only when asked for the rest
                line = line[self._record.write(line) :]
        except OSError as error:  # of a file that is open Python doesn't say which
            raise OSError(error.errno, error.strerror, self._record.name) from None

    def document(self, view: View) -> JsonObject:
        """The JSON object of an interval, with the rows that were asked for."""
        return document(attrs.evolve(view, rows=tuple(self.rows(view))))

    def rows(self, view: View) -> list[Row]:
        """The rows that were asked for, in the order asked for."""
        return arrange(view.rows, self.sort, self.glob)


class Pace:
    """When looks are due: every interval from the first on, none made up for that came late."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._due = clock()

    def left(self) -> float:
        """Seconds until the next look; 0 or less if it is due."""
        return self._due - self._clock()

    def next(self) -> None:
        """A look was taken; the next is due at the next whole interval that is still to come."""
        late = max(0.0, self._clock() - self._due)
        self._due += self._interval * (1 + late // self._interval)


@contextmanager
def recording(path: Path | None) -> Iterator[BinaryIO | None]:
    """The file to record to, emptied; each write is seen at once. Raises OSError."""
    if path is None:
        yield None
        return
    with path.open("wb", buffering=0) as file:
        yield file


def blocks_for(encoding: str | None) -> str:
    """The blocks of a curve that an encoding has."""
    return BLOCKS if (encoding or "").lower().replace("-", "") == "utf8" else ASCII_BLOCKS


Show = Callable[[View], None]


def run_plain(session: Session, reader: Reader, watch: Watch, interval: float, count: int | None) -> None:
    """Shows one interval after the other until ``count`` were shown, on whatever stdout is."""
    if session.json:
        _each(session, reader, watch, interval, count, lambda view: session.emit(watch.document(view)))
    elif not sys.stdout.isatty():
        _each(session, reader, watch, interval, count, _block_printer(session, watch))
    else:
        _redraw(session, reader, watch, interval, count)


def _each(
    session: Session,
    reader: Reader,
    watch: Watch,
    interval: float,
    count: int | None,
    show: Show,
    first: Show | None = None,
) -> None:
    pace = Pace(interval)
    shown = 0
    while True:
        session.sleep(max(0.0, pace.left()))
        pace.next()
        look = reader.look()
        if look is None:
            session.say(f"no answer within {reader.patience:g} s")
            continue
        is_first = not watch.has_begun
        view = watch.feed(look)
        if is_first:
            if first is not None:
                first(view)
            continue
        show(view)
        shown += 1
        if shown == count:
            return


def _block_printer(session: Session, watch: Watch) -> Show:
    blocks = blocks_for(sys.stdout.encoding)

    def show(view: View) -> None:
        session.out(block(view, watch.history, watch.rows(view), watch.sort, blocks))

    return show


def screen_lines(view: View, watch: Watch, width: int, height: int, blocks: str) -> list[Line]:
    """As much of a view as a screen has room for."""
    rows = watch.rows(view)
    columns = grid(width, rows)
    lines = [*instance_lines(view, watch.history, width, blocks), titles(columns, watch.sort)]
    room = max(1, height - len(lines))
    shown = rows if len(rows) <= room else rows[: room - 1]
    lines += [module_line(row, columns) for row in shown]
    if len(shown) < len(rows):
        lines.append([(f"and {len(rows) - len(shown)} more", "dim")])
    elif columns.missing and len(shown) < room:
        lines.append([(left_out(columns.missing, "--json shows"), "dim")])
    return lines


def _redraw(session: Session, reader: Reader, watch: Watch, interval: float, count: int | None) -> None:
    # Late: no other command needs it, and it takes longer to import than a command to run.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(no_color=not session.use_color(sys.stdout), highlight=False)
    blocks = blocks_for(sys.stdout.encoding)
    with Live(console=console, auto_refresh=False) as live:

        def show(view: View) -> None:
            # One line less than there are: the cursor stands behind the last.
            lines = screen_lines(view, watch, console.width, console.height - 1, blocks)
            text: Any = Text("\n").join(Text.assemble(*harmless_line(line)) for line in lines)
            text.no_wrap, text.overflow = True, "crop"
            live.update(text, refresh=True)

        _each(session, reader, watch, interval, count, show, show)
