"""Knows what a person sees of an instance: the last look, with what was asked for since, in an order and by a filter.

Doesn't know any screen.
"""

from __future__ import annotations

from typing import Final

import attrs

from brokersim.cli.top.rates import SORTS, Change, Row, View, arrange
from brokersim.cli.top.table import DIM, NOTE, Line

_HINTS: Final = ("? keys", "q quit", "space 0x1000", "h hook", "/ filter", "s sort", "t messages")


@attrs.define(eq=False)
class Seen:
    """What is there, and what is chosen of it."""

    sort: str
    glob: str
    #: The last look; None before the first.
    view: View | None = None
    #: Messages a second of the last looks.
    history: tuple[float | None, ...] = ()
    #: What was asked for and is not confirmed: shown as if it were so.
    _asked: list[Change] = attrs.field(factory=list)

    def rows(self) -> list[Row]:
        """Those that are like the filter, in order."""
        if self.view is None:
            return []
        return arrange(_changed(self.view, *self._asked).rows, self.sort, self.glob)

    def ask(self, change: Change) -> None:
        self._asked.append(change)

    def end(self, change: Change, is_so: bool) -> None:
        """What was asked for is refused, or it is so, though no look has seen it yet."""
        self._asked.remove(change)
        if is_so and self.view is not None:
            self.view = _changed(self.view, change)

    def sort_by_next(self) -> None:
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]

    def hints(self, width: int, rows: int, room: int) -> Line:
        """The keys that are worth a hint, and what is chosen: ``rows`` of modules, ``room`` for so many."""
        chosen = "" if self.glob in ("", "*") else f"  filter {self.glob}"
        if rows > room:
            chosen += f"  {rows:,} rows"
        words = list(_HINTS)
        while words and len("  ".join(words)) > width - len(chosen):
            words.pop()
        return [("  ".join(words), DIM), (chosen, NOTE)]


def _changed(view: View, *changes: Change) -> View:
    rows = view.rows
    for change in changes:
        rows = tuple(change.applied(row) for row in rows)
    return attrs.evolve(view, rows=rows)
