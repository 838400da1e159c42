"""Knows the screen: its panes, which of them have room, and the cursor. Not what keys mean beyond that."""

from __future__ import annotations

import time
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input

from brokersim.cli.top.seen import Seen
from brokersim.cli.top.table import BOLD, Line, detail, instance_lines
from brokersim.cli.top.widgets import Messages, Modules, Pane

#: Seconds for which the last line says what a key did.
_TOLD: Final = 4.0
#: Below this there is room for the rows and little else.
_LOW: Final = 20


class Board(Screen[None]):
    """Shows what is seen of an instance, and in its last line what was told, for a while."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)"),
        Binding("k,up", "move(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("pageup", "page(-1)"),
        Binding("home", "move(-1000000)"),
        Binding("end", "move(1000000)"),
    ]

    AUTO_FOCUS = "#modules"

    def __init__(self, seen: Seen, blocks: str) -> None:
        super().__init__()
        self._seen = seen
        self._blocks = blocks
        self._told: tuple[Line, float] = ([], 0.0)

    def compose(self) -> ComposeResult:
        yield Pane(id="instance")
        yield Modules(id="modules")
        yield Messages(id="messages")
        yield Pane(id="detail")
        yield Pane(id="told")
        yield Input(id="filter", placeholder="content*, 0!*; Enter keeps it, Esc drops it", compact=True)

    def on_mount(self) -> None:
        self.draw()

    @property
    def modules(self) -> Modules:
        return self.query_one("#modules", Modules)

    @property
    def messages(self) -> Messages:
        return self.query_one("#messages", Messages)

    def _pane(self, name: str) -> Pane:
        return self.query_one(f"#{name}", Pane)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.height < _LOW, "low")
        self.draw()

    def draw(self) -> None:
        """All of it, anew."""
        width, seen, modules = self.size.width, self._seen, self.modules
        if seen.view is not None:
            modules.show(seen.rows(), seen.sort)
            lines = instance_lines(seen.view, seen.history, width, self._blocks)
            pane = self._pane("instance")
            pane.styles.height = len(lines)  # more where a probe or a stat has something to say
            pane.show(lines)
        self._draw_selected()
        line, until = self._told
        if time.monotonic() >= until:
            line = seen.hints(width, len(modules.rows), modules.room)
        self._pane("told").show([line])

    def _draw_selected(self) -> None:
        row = self.modules.selected
        self._pane("detail").show([detail(row, self.size.width)] if row is not None else [])

    def tell(self, text: str, style: str = BOLD, seconds: float = _TOLD) -> None:
        """In the last line, for a while."""
        self._told = ([(text, style)], time.monotonic() + seconds)
        self.draw()

    def action_move(self, steps: int) -> None:
        self.modules.move(steps)
        self._draw_selected()

    def action_page(self, pages: int) -> None:
        self.action_move(pages * self.modules.room)

    def begin_filter(self, text: str) -> None:
        """Have it typed, from this on."""
        self.add_class("filtering")
        field = self.query_one("#filter", Input)
        field.value = text
        field.focus()

    def end_filter(self) -> None:
        self.remove_class("filtering")
        self.modules.focus()
