"""Knows when a loop gets nowhere, a flood of messages or an instant of virtual time without end, and who is to blame.

It doesn't end anybody: the loop does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from brokersim.native.engine import twin
from brokersim.protocol.message import RESPONSE, Message
from brokersim.reactor.actor import Actor, Interruption, Timer

#: Queued messages at which the actor that queued most of them is declared a flood and failed. 1 M is 150 MB.
FLOOD = 1_000_000
#: Batches of nothing but turning loops at one instant of a clock that jumps, before the first of them is failed.
SPINS = 400
#: Messages without a pause at one instant of a clock that jumps, after which it is taken to stand still for ever; and
#: the same of turns for timers. The largest simulations have half a million of either at one heartbeat.
LIVELOCK = 10_000_000
TIMER_LIVELOCK = 4_000_000
#: Messages and timers looked at to find out who keeps time from moving: enough for a ring of any sane length.
LOOK_AT: Final = 256
_SPIN_TEXT = (
    "an idle watcher stays active, so virtual time never passes; let spinning cost time with cost=CostModel()"
)


class Flood(Interruption):
    """An actor sent faster than anybody could receive."""


class Spin(Exception):
    """An actor's idle watchers kept a clock that jumps from ever moving."""

    def __init__(self) -> None:
        super().__init__(_SPIN_TEXT)


class Livelock(Exception):
    """Actors that keep each other busy at one instant, so that a clock that jumps never does."""


class HandlerHung(Interruption):
    """A handler ran longer than the watchdog allows; raised inside it."""


@twin
class Instant:
    """Counts what happens at one instant (ns); it begins again at the next."""

    __slots__ = ("_count", "_now")

    def __init__(self) -> None:
        self._now = self._count = 0

    def count(self, now: int, more: int = 1) -> int:
        """How often it has happened at ``now``, ``more`` included."""
        if now != self._now:
            self.reset(now)
        self._count += more
        return self._count

    def reset(self, now: int) -> None:
        """Nothing has happened yet."""
        self._now, self._count = now, 0

    @property
    def is_empty(self) -> bool:
        return not self._count


def flooder(queued: Iterable[Message]) -> tuple[Actor, Flood]:
    """Who sent most of what is queued, and what to fail it with."""
    senders = Counter[Actor](message.src for message in queued if message.src is not None)
    worst, number = senders.most_common(1)[0]
    return worst, Flood(f"{number} messages queued, the limit is {FLOOD}")


def asks_for_more(message: Message) -> bool:
    """Does its sender keep a livelock going? Who only answers is not to blame."""
    return bool(message.type) and message.type != RESPONSE and message.src is not None


def livelock(sends: Iterable[Message]) -> tuple[list[Actor], Livelock]:
    """Who sent these, and what to fail them with."""
    senders = {message.src: f"{_name(message.src)} sends {message.topic}" for message in sends}
    text = (
        f"virtual time stands still after {LIVELOCK} messages at one instant: {', '.join(senders.values())}"
    )
    return list(senders), Livelock(text)


def timer_livelock(due: Iterable[Timer]) -> tuple[list[Actor | None], Livelock]:
    """Whose timers these are, and what to fail them with."""
    actors = list(dict.fromkeys(timer.actor for timer in due if timer.fn is not None))
    names = ", ".join(_name(actor) for actor in actors)
    return actors, Livelock(
        f"virtual time stands still after {TIMER_LIVELOCK} timers at one instant, set by {names}"
    )


def _name(actor: Actor | None) -> str:
    return str(getattr(actor, "name", "the program"))
