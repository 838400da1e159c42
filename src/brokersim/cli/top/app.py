"""Knows the screen and its keys; not how looks are taken (top_feed), nor what a row says (top_table)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import ClassVar, Final

import attrs
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Input

from brokersim.cli.top.feed import Done, Feed, Looked, Over, Silent, Trace, Traced
from brokersim.cli.top.plain import Watch, blocks_for
from brokersim.cli.top.rates import SORTS, Change, Row, View, arrange
from brokersim.cli.top.read import Reader, next_hook
from brokersim.cli.top.table import BAD, BOLD, DIM, MSGCOUNT, NOTE, Line, detail, grid, instance_lines
from brokersim.cli.top.widgets import Messages, Modules, Pane

#: Seconds for which the last line says what a key did.
_TOLD: Final = 4.0
#: Below this there is room for the rows and little else.
_LOW: Final = 20

_SWITCHED: Final = {True: "sends its counters as gauges", False: "sends no gauges"}
_HOOKED: Final = {"idle": "hook idle; while it sends gauges its loop never rests"}

KEYS: Final = (
    ("j k ↓ ↑", "move; PgUp PgDn Home End"),
    ("space", "gauges (0x1000) on and off"),
    ("h", "next hook that sends them"),
    ("/", "filter: GLOB or RANK!GLOB"),
    ("s", "sort by the next column"),
    ("t", "its messages, on and off"),
    ("q", "quit; ^C, too"),
    ("?", "this; any key closes it"),
)


class Help(ModalScreen[None]):
    """The keys, and which columns have no room. Any key closes it."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__()
        self._missing = missing

    def compose(self) -> ComposeResult:
        pane = Pane(id="keys")
        pane.lines = [[(f"{key:<8} ", BOLD), (text, "")] for key, text in KEYS]
        if self._missing:
            pane.lines = [*pane.lines, [("no room for ", DIM), (", ".join(self._missing), "")]]
        yield pane

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss()

    def on_click(self) -> None:
        self.dismiss()


class TopApp(App[BaseException | None]):
    """Watches an instance until ``q``; its result is what ended it otherwise."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)"),
        Binding("k,up", "move(-1)"),
        Binding("pagedown", "page(1)"),
        Binding("pageup", "page(-1)"),
        Binding("home", "move(-1000000)"),
        Binding("end", "move(1000000)"),
        Binding("space", "gauges"),
        Binding("h", "hook"),
        Binding("slash", "filter"),
        Binding("s", "sort"),
        Binding("t", "trace"),
        Binding("question_mark", "keys"),
        Binding("q", "leave"),
        Binding("escape", "all"),
        Binding("ctrl+c", "interrupt", priority=True),
    ]
    CSS = """
    Screen { layout: vertical; }
    Pane { height: 1; }
    #instance { height: 3; }
    #modules { height: 1fr; margin-top: 1; }
    #messages { height: 2fr; margin-top: 1; display: none; }
    #detail { margin-top: 1; }
    .low #modules { margin-top: 0; }
    .low #messages { margin-top: 0; height: 1fr; }
    .low #detail { display: none; }
    #filter { display: none; height: 1; border: none; padding: 0; background: ansi_default; }
    .filtering #filter { display: block; }
    .filtering #told { display: none; }
    .tracing #messages { display: block; }
    Help { align: center middle; }
    #keys { width: 44; max-width: 100%; height: auto; border: round ansi_default; padding: 0 1; }
    """

    def __init__(self, reader: Reader, watch: Watch, uri: str, interval: float, count: int | None) -> None:
        super().__init__()
        # The terminal's own colours on its own background, whether that is dark or light.
        self.theme = "ansi-dark"
        self.stopping = threading.Event()
        self.feed = Feed(reader, watch, interval, count, self.stopping)
        self.sort = watch.sort
        self.glob = watch.glob
        self.view: View | None = None
        self._uri = uri
        self._history: tuple[float | None, ...] = ()
        self._blocks = blocks_for(sys.stdout.encoding)
        #: What was asked for and is not confirmed: shown as if it were so.
        self._asked: list[Change] = []
        self._trace: Trace | None = None
        self._told: tuple[Line, float] = ([], 0.0)

    # --- what is on the screen

    def compose(self) -> ComposeResult:
        yield Pane(id="instance")
        yield Modules(id="modules")
        yield Messages(id="messages")
        yield Pane(id="detail")
        yield Pane(id="told")
        yield Input(id="filter", placeholder="content*, 0!*; Enter keeps it, Esc drops it", compact=True)

    def on_mount(self) -> None:
        self.modules.focus()
        self.run_worker(lambda: self.feed.run(self.post_message), thread=True, group="feed")
        self.set_interval(1.0, self._draw)
        self._draw()

    def on_unmount(self) -> None:
        self._stop()

    @property
    def base(self) -> Screen[object]:
        """The screen with the panes, also while the keys are shown on top of it."""
        return self.screen_stack[0]

    @property
    def modules(self) -> Modules:
        return self.base.query_one("#modules", Modules)

    @property
    def messages(self) -> Messages:
        return self.base.query_one("#messages", Messages)

    def _pane(self, name: str) -> Pane:
        return self.base.query_one(f"#{name}", Pane)

    def on_resize(self, event: events.Resize) -> None:
        self.base.set_class(event.size.height < _LOW, "low")
        self._draw()

    def _rows(self) -> list[Row]:
        if self.view is None:
            return []
        return arrange(self._changed(self.view, *self._asked).rows, self.sort, self.glob)

    def _changed(self, view: View, *changes: Change) -> View:
        rows = view.rows
        for change in changes:
            rows = tuple(change.applied(row) for row in rows)
        return attrs.evolve(view, rows=rows)

    def _draw(self) -> None:
        if not self.is_running or not self.screen_stack:
            return
        width = self.size.width
        rows = self._rows()
        if self.view is not None:
            self.modules.show(rows, self.sort)
            lines = instance_lines(self.view, self._history, width, self._blocks)
            pane = self._pane("instance")
            pane.styles.height = len(lines)  # more where a probe or a stat has something to say
            pane.show(lines)
        self._draw_selected()
        line, until = self._told
        self._pane("told").show([line if time.monotonic() < until else self._hints(width)])

    def _draw_selected(self) -> None:
        row = self.modules.selected
        pane = self._pane("detail")
        pane.show([detail(row, self.size.width)] if row is not None else [])

    def _hints(self, width: int) -> Line:
        hints = "? keys  q quit  space 0x1000  h hook  / filter  s sort  t messages"
        chosen = "" if self.glob in ("", "*") else f"  filter {self.glob}"
        rows = len(self.modules.rows)
        if rows > self.modules.room:
            chosen += f"  {rows:,} rows"
        room = width - len(chosen)
        words = hints.split("  ")
        while words and len("  ".join(words)) > room:
            words.pop()
        return [("  ".join(words), DIM), (chosen, NOTE)]

    def _tell(self, text: str, style: str = BOLD, seconds: float = _TOLD) -> None:
        self._told = ([(text, style)], time.monotonic() + seconds)
        self._draw()

    # --- what comes from the threads

    def on_looked(self, message: Looked) -> None:
        self.view = message.view
        self._history = message.history
        notes = [row for row in message.view.rows if row.note]
        if notes and message.view.interval is not None:
            shown = ", ".join(f"{row.module.rank}!{row.module.name} {row.note}" for row in notes[:3])
            self._tell(shown if len(notes) <= 3 else f"{shown}, … ({len(notes)})", NOTE)
        self._draw()

    def on_silent(self, message: Silent) -> None:
        self._tell(f"no answer for {message.seconds:.0f} s", BAD, 1.5)

    def on_done(self, message: Done) -> None:
        change = message.change
        self._asked.remove(change)
        rank, name = change.key
        if message.error:
            self._tell(f"{rank}!{name}: {message.error}", BAD)
            return
        if self.view is not None:
            self.view = self._changed(self.view, change)  # it is so, though no look has seen it yet
        what = _HOOKED.get(change.hook or "", f"hook {change.hook}")
        self._tell(f"{rank}!{name}: {what if change.hook else _SWITCHED[change.on]}")

    def on_over(self, message: Over) -> None:
        self._leave(message.error)

    def on_traced(self, message: Traced) -> None:
        if self._trace is not None and self._trace.key == message.key:
            self.messages.add(message.entries, message.end)

    # --- keys

    def action_move(self, steps: int) -> None:
        self.modules.move(steps)
        self._draw_selected()

    def action_page(self, pages: int) -> None:
        self.action_move(pages * self.modules.room)

    def action_gauges(self) -> None:
        row = self.modules.selected
        if row is not None:
            on = not (row.module.mask or 0) & MSGCOUNT
            self._ask(Change(key=row.module.key, bits=MSGCOUNT, on=on))

    def action_hook(self) -> None:
        row = self.modules.selected
        if row is not None:
            self._ask(Change(key=row.module.key, hook=next_hook(row.module.hook)))

    def _ask(self, change: Change) -> None:
        self._asked.append(change)
        self.feed.ask(change)
        self._draw()

    def action_sort(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        self._tell(f"sorted by {self.sort}")

    def action_filter(self) -> None:
        self.base.add_class("filtering")
        field = self.base.query_one("#filter", Input)
        field.value = "" if self.glob == "*" else self.glob
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.glob = event.value or "*"
        self._draw()

    def on_input_submitted(self) -> None:
        self.base.remove_class("filtering")
        self.modules.focus()

    def action_all(self) -> None:
        """Escape: the filter is dropped."""
        self.glob = "*"
        self.on_input_submitted()
        self._draw()

    def action_trace(self) -> None:
        row = self.modules.selected
        before, self._trace = self._trace, None
        if before is not None:
            before.stop()
        if row is None or (before is not None and before.key == row.module.key):
            self.base.remove_class("tracing")
            return
        self._trace = trace = Trace(self._uri, row.module.key)
        self.messages.begin(trace.key)
        self.base.add_class("tracing")
        self.run_worker(lambda: trace.run(self.post_message), thread=True, group="trace")

    def action_keys(self) -> None:
        self.push_screen(Help(grid(self.size.width, self._rows()).missing))

    def action_leave(self) -> None:
        self._leave(None)

    def action_interrupt(self) -> None:
        self._leave(KeyboardInterrupt())

    def _leave(self, error: BaseException | None) -> None:
        self._stop()
        self.exit(error)

    def _stop(self) -> None:
        self.stopping.set()
        if self._trace is not None:
            self._trace.stop()


def run_app(reader: Reader, watch: Watch, uri: str, interval: float, count: int | None) -> None:
    """Until ``q``. Raises whatever ended it otherwise: Unreachable, KeyboardInterrupt, TimeoutError."""
    error = TopApp(reader, watch, uri, interval, count).run()
    if error is not None:
        raise error
