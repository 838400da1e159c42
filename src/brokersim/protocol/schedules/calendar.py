"""Knows cron expressions: when they fire, in which zone, and the windows they open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile

import attrs
from cronsim import CronSimError

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import Random, Schedule, Span, to_window, union
from brokersim.protocol.schedules.every import Every
from brokersim.protocol.schedules.fires import fires, walls
from brokersim.protocol.schedules.zone import zone


def check_expression(text: object) -> str:
    """The expression itself. Raises ValueError that says what would be right, also for one that never fires."""
    if not isinstance(text, str):
        raise ValueError(f'a cron expression must be a string such as "*/5 * * * *", not {text!r:.40}')
    try:
        # StopIteration: no such day in fifty years.
        next(walls(text, datetime(2026, 1, 1)))
    except CronSimError as error:
        raise ValueError(f'{quoted(text)}: {error}; five fields, such as "*/5 * * * *", or six') from None
    except (StopIteration, OverflowError):
        raise ValueError(f"{quoted(text)} never fires") from None
    return text


@attrs.frozen(kw_only=True)
class Cron(Schedule):
    """Whenever ``expr`` fires in ``tz`` (this machine's zone), or as ``child`` says in the ``window`` it opens."""

    expr: str = attrs.field(converter=check_expression)
    tz: str | None = None
    window: float | None = attrs.field(default=None, converter=to_window)
    child: Schedule | None = None

    def __attrs_post_init__(self) -> None:
        zone(self.tz)
        if (self.window is None) != (self.child is None):
            raise ValueError("cron: a window needs a child, such as every 10s, and a child a window")

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        where = zone(self.tz)
        if self.window is None or self.child is None:
            before = math.nextafter(now, -math.inf)
            return ((at, math.inf) for at in fires(self.expr, before, where))
        # A window may be open already.
        opened = fires(self.expr, now - self.window, where)
        return union((at, self._window(self.child, at, self.window, now, random)) for at in opened)

    def _window(
        self, child: Schedule, start: float, window: float, now: float, random: Random
    ) -> Iterator[Span]:
        end = start + window
        spans = takewhile(lambda span: span[0] < end, child.spans(start, random))
        return ((at, min(until, end)) for at, until in spans if at >= now)

    def to_dict(self) -> JsonObject:
        shown = Schedule.to_dict(self)
        if isinstance(self.child, Every):
            shown["child"] = {"type": "every", "params": self.child.to_dict()}
        return shown
