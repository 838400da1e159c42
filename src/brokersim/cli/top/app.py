"""Knows the screen and its keys; not how looks are taken (top_feed), nor what a row says (top_table)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import ClassVar, Final

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from brokersim.cli.top.board import Board
from brokersim.cli.top.feed import Done, Feed, Looked, Over, Silent, Trace, Traced
from brokersim.cli.top.plain import Watch, blocks_for
from brokersim.cli.top.rates import Change
from brokersim.cli.top.read import Reader, next_hook
from brokersim.cli.top.seen import Seen
from brokersim.cli.top.table import BAD, BOLD, DIM, MSGCOUNT, NOTE, grid
from brokersim.cli.top.widgets import Pane

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
        self.seen = Seen(sort=watch.sort, glob=watch.glob)
        #: Below whatever is shown on top of it.
        self.board = Board(self.seen, blocks_for(sys.stdout.encoding))
        self._uri = uri
        self._trace: Trace | None = None

    def get_default_screen(self) -> Board:
        return self.board

    def on_mount(self) -> None:
        self.run_worker(lambda: self.feed.run(self.post_message), thread=True, group="feed")
        self.set_interval(1.0, self._draw)

    def _draw(self) -> None:
        if self.is_running and self.board.is_mounted:
            self.board.draw()

    def on_unmount(self) -> None:
        self._stop()

    # --- what comes from the threads

    def on_looked(self, message: Looked) -> None:
        self.seen.view, self.seen.history = message.view, message.history
        notes = [row for row in message.view.rows if row.note]
        if notes and message.view.interval is not None:
            shown = ", ".join(f"{row.module.rank}!{row.module.name} {row.note}" for row in notes[:3])
            self.board.tell(shown if len(notes) <= 3 else f"{shown}, … ({len(notes)})", NOTE)
        self._draw()

    def on_silent(self, message: Silent) -> None:
        self.board.tell(f"no answer for {message.seconds:.0f} s", BAD, 1.5)

    def on_done(self, message: Done) -> None:
        change = message.change
        self.seen.end(change, is_so=not message.error)
        rank, name = change.key
        if message.error:
            self.board.tell(f"{rank}!{name}: {message.error}", BAD)
            return
        what = _HOOKED.get(change.hook or "", f"hook {change.hook}")
        self.board.tell(f"{rank}!{name}: {what if change.hook else _SWITCHED[change.on]}")

    def on_over(self, message: Over) -> None:
        self._leave(message.error)

    def on_traced(self, message: Traced) -> None:
        if self._trace is not None and self._trace.key == message.key:
            self.board.messages.add(message.entries, message.end)

    # --- keys

    def action_gauges(self) -> None:
        row = self.board.modules.selected
        if row is not None:
            on = not (row.module.mask or 0) & MSGCOUNT
            self._ask(Change(key=row.module.key, bits=MSGCOUNT, on=on))

    def action_hook(self) -> None:
        row = self.board.modules.selected
        if row is not None:
            self._ask(Change(key=row.module.key, hook=next_hook(row.module.hook)))

    def _ask(self, change: Change) -> None:
        self.seen.ask(change)
        self.feed.ask(change)
        self._draw()

    def action_sort(self) -> None:
        self.seen.sort_by_next()
        self.board.tell(f"sorted by {self.seen.sort}")

    def action_filter(self) -> None:
        self.board.begin_filter("" if self.seen.glob == "*" else self.seen.glob)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.seen.glob = event.value or "*"
        self._draw()

    def on_input_submitted(self) -> None:
        self.board.end_filter()

    def action_all(self) -> None:
        """Escape: the filter is dropped."""
        self.seen.glob = "*"
        self.board.end_filter()
        self._draw()

    def action_trace(self) -> None:
        row = self.board.modules.selected
        before, self._trace = self._trace, None
        if before is not None:
            before.stop()
        if row is None or (before is not None and before.key == row.module.key):
            self.board.remove_class("tracing")
            return
        self._trace = trace = Trace(self._uri, row.module.key)
        self.board.messages.begin(trace.key)
        self.board.add_class("tracing")
        self.run_worker(lambda: trace.run(self.post_message), thread=True, group="trace")

    def action_keys(self) -> None:
        self.push_screen(Help(grid(self.size.width, self.seen.rows()).missing))

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
