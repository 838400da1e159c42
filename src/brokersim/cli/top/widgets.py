"""Knows the panes of the screen: text that fits, the list of modules with its cursor, a module's messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from rich.text import Text
from textual import events
from textual.widget import Widget

from brokersim.cli.module.trace import Latencies
from brokersim.cli.top.rates import Key, Row
from brokersim.cli.top.table import BOLD, DIM, Line, grid, harmless_line, module_line, titles, trace_line
from brokersim.protocol.decoded import JsonObject, JsonView

#: Messages a trace keeps: more than the highest screen shows.
_KEPT: Final = 500


def to_text(lines: Sequence[Line]) -> Text:
    """Lines as one text that is cut at the edge, never wrapped."""
    text = Text("\n").join(Text.assemble(*harmless_line(line)) for line in lines)
    text.no_wrap, text.overflow = True, "crop"
    return text


class Pane(Widget):
    """Some lines, as they are; as many as there is room for."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """From now on these."""
        self.lines = lines
        self.refresh()

    def render(self) -> Text:
        return to_text(self.lines)


class Modules(Widget, can_focus=True):
    """The modules, one a line below their titles. The cursor stays on its module when their order changes."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.sort = "rank"
        #: Where there is no row to show.
        self._why_empty = "the first look is on its way"
        self._key: Key | None = None
        self._at = 0
        self._top = 0

    def show(self, rows: Sequence[Row], sort: str) -> None:
        """From now on these."""
        self.rows, self.sort = rows, sort
        self._why_empty = "no module is like the filter"
        at = next((at for at, row in enumerate(rows) if row.module.key == self._key), self._at)
        self._go(at)

    @property
    def selected(self) -> Row | None:
        """The row the cursor is on; None if there is none."""
        return self.rows[self._at] if self.rows else None

    def move(self, steps: int) -> None:
        """The cursor goes down, or up, and stops at either end."""
        self._go(self._at + steps)

    @property
    def room(self) -> int:
        """Rows that fit."""
        return max(1, self.size.height - 1)

    def _go(self, at: int) -> None:
        self._at = max(0, min(at, len(self.rows) - 1))
        self._key = self.rows[self._at].module.key if self.rows else None
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """A click selects."""
        if event.y >= 1:
            self._go(self._top + event.y - 1)

    def render(self) -> Text:
        columns = grid(self.size.width, self.rows)
        # As little scrolling as keeps the cursor in sight, and no room left empty below the last.
        self._top = min(
            max(self._top, self._at - self.room + 1), self._at, max(0, len(self.rows) - self.room)
        )
        shown = self.rows[self._top : self._top + self.room]
        lines = [titles(columns, self.sort)]
        for at, row in enumerate(shown, start=self._top):
            line = module_line(row, columns)
            lines.append(_reversed(line, self.size.width) if at == self._at else line)
        return to_text(lines if self.rows else [*lines, [(self._why_empty, DIM)]])


def _reversed(line: Line, width: int) -> Line:
    """The whole line in reverse, to the edge."""
    rest = width - sum(len(text) for text, _ in line)
    return [(text, f"{style} reverse".strip()) for text, style in [*line, (" " * max(0, rest), "")]]


class Messages(Widget):
    """The last messages of one module below a title."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.key: Key = (0, "")
        self.seen = 0
        self._lines: deque[tuple[JsonView, float, float | None]] = deque(maxlen=_KEPT)
        self._last: float | None = None
        self._pairs = Latencies()
        self._end = ""

    def begin(self, key: Key) -> None:
        """Nothing yet of this module."""
        self.key, self.seen, self._last, self._end = key, 0, None, ""
        self._lines.clear()
        self._pairs = Latencies()
        self.refresh()

    def add(self, entries: Sequence[JsonObject], end: str) -> None:
        """These came; ``end`` says why there are no more."""
        for entry in entries:
            since = 0.0 if self._last is None else entry["timestamp"] - self._last
            self._last = entry["timestamp"]
            self._lines.append((entry, since, self._pairs.feed(entry)))
        self.seen += len(entries)
        self._end = end
        self.refresh()

    def render(self) -> Text:
        rank, name = self.key
        heading: Line = [(f"messages of {rank}!{name}", BOLD), (f"  {self.seen:,}", DIM)]
        if self._end:
            heading.append((f"  {self._end}", "bold red"))
        shown = list(self._lines)[-max(1, self.size.height - 1) :]
        return to_text([heading, *(trace_line(*one) for one in shown)])
