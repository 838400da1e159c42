"""Knows what rank 0 does for every stat: its epochs, one collection at a time, the record and rows of each.

Not how rows are merged (collection), nor where they go (outlets).
"""

from __future__ import annotations

import math
import syslog
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs

from brokersim.brokermod import Handle, ranks

from .collection import Collection, Parent
from .judge import Judge
from .member import Held, Member, members_of
from .merge import joined
from .slack import MUTE
from .stat import Row, Rows, Stat
from .table import observations
from .wire import Order, Tally
from .zeek import COMPAT, Script

#: Records kept a stat, and rows of its last epoch, for whoever asks afterwards.
RECORDS = 100
ROWS = 10_000


class Taker(Protocol):
    """Who is given the rows of a collection as they come out, and then its record."""

    def rows(self, stat: Stat, rows: Rows) -> None:
        """Ascending by key; each once."""

    def crossed(self, stat: Stat, crossing: dict[str, Any]) -> None:
        """A key has reached a level; told before its row, if that is what shows it. Most takers need not know."""
        return

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        """The epoch is over."""

    def gone(self, stat: Stat) -> None:
        """The stat was removed: there will be no end. Most takers need not know."""
        return

    def lost(self, stat: Stat, why: str) -> None:
        """There will be no end of this epoch. Most takers need not know."""
        return


class Top(Parent):
    """The end of the tree: rows go to all who take them."""

    #: Nobody below has to wait for it.
    credit = 1 << 62
    is_wire = False

    def __init__(
        self,
        stat: Stat,
        takers: list[Taker],
        ended: Callable[[Tally], object],
        judge: Callable[[Rows], object],
    ) -> None:
        self._stat = stat
        self._takers = takers
        self._ended = ended
        self._judge = judge
        self.count = 0

    def send(self, rows: Rows, size: int, tally: Tally | None) -> None:
        self.count += len(rows)
        if rows:
            self._judge(rows)
            for taker in self._takers:
                taker.rows(self._stat, rows)
        if tally is not None:
            self._ended(tally)


@attrs.define(eq=False)
class Totals:
    """What lacked in all epochs of one stat, and how long the last took (s)."""

    #: Epochs that lacked something, and ranks they lacked.
    partial: int = 0
    missing: int = 0
    duration: float = 0.0

    def add(self, record: dict[str, Any], tally: Tally) -> None:
        """One more epoch."""
        absent = {rank for ranks, _ in tally.truncated for rank in ranks}
        absent |= tally.missing | tally.departed | tally.stale
        self.partial += bool(absent)
        self.missing += len(absent)
        self.duration = record["completed"] - record["requested"]


@attrs.define(eq=False)
class Course:
    """The epochs of one stat."""

    stat: Stat
    began: float
    epoch: int = 0
    open: Collection | None = None
    #: Who is given its rows, and its record.
    takers: list[Taker] = attrs.field(factory=list)
    #: Who wants the next collection, as soon as this one is over.
    waiting: list[Taker] = attrs.field(factory=list)
    #: Those of collections by the script of 2011, of which several may be under way.
    scripted: list[Taker] = attrs.field(factory=list)
    merged: int = 0
    timer: Any = None
    seen: set[int] = attrs.field(factory=set)
    records: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=RECORDS))
    last_rows: Rows = ()
    judge: Judge | None = None
    emitted: int = 0
    was_partial: bool = False
    totals: Totals = attrs.field(factory=Totals)
    #: Crossings that wait for the end of the epoch, because only that knows whether enough ranks are in it.
    held_back: list[tuple[int, dict[str, Any]]] = attrs.field(factory=list)


class Root:
    """All stats, on rank 0."""

    def __init__(
        self, handle: Handle, member: Member, takers: Callable[[Stat], list[Taker]], script: Script
    ) -> None:
        self.courses: dict[str, Course] = {}
        self._handle = handle
        self._member = member
        self._takers = takers
        self._script = script
        self._looks = 0

    # -- stats

    def add(self, stat: Stat) -> None:
        """Begin its first epoch."""
        course = self.courses[stat.name] = Course(stat, self._handle.now())
        if stat.value is not None:
            members = len(self.members(stat))
            course.judge = Judge(stat, members, partial(self._view, course), partial(self._share, course))
        if stat.definition.epoch:
            self._set_timer(course)

    def remove(self, name: str) -> Course | None:
        """It has no more epochs; what is being collected goes nowhere."""
        course = self.courses.pop(name, None)
        if course is not None:
            if course.timer is not None:
                course.timer.cancel()
            if course.open is not None:
                course.open.abandon()
                course.open.forget()
            for taker in [*course.takers, *course.waiting, *course.scripted]:
                taker.gone(course.stat)
        return course

    def _set_timer(self, course: Course) -> None:
        """The next break, by multiplication from the first: no drift. Aligned, at a multiple of the wall clock."""
        epoch, now = course.stat.definition.epoch, self._handle.now()
        origin = course.began
        if course.stat.definition.align == "clock":
            origin = now - self._handle.time() % epoch
        due = origin + (math.floor((now - origin) / epoch + 1e-9) + 1) * epoch
        course.timer = self._handle.call_later(due - now, self._break, course)

    def _break(self, course: Course) -> None:
        self._set_timer(course)
        if course.open is not None:
            course.merged += 1
        else:
            self.end_epoch(course, [])

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Per stat: observations in rows so far, whether a collection is under way, whether ranks were ever absent."""
        return {
            name: {
                "emitted": course.emitted,
                "is_open": course.open is not None,
                "was_partial": course.was_partial,
            }
            for name, course in self.courses.items()
        }

    def last_epochs(self) -> dict[str, Any]:
        """Of each stat: epochs so far, and of the last its rows, when it was, and how many ranks are not in it."""
        return {
            name: {
                "epoch": course.epoch,
                "rows": course.records[-1]["rows"] if course.records else 0,
                "absent": _absent(course.records[-1]) if course.records else "",
            }
            for name, course in self.courses.items()
        }

    def figures(self) -> dict[str, dict[str, Any]]:
        """Per stat what lacked in its epochs so far."""
        return {name: attrs.asdict(course.totals) for name, course in self.courses.items()}

    # -- collections

    def end_epoch(self, course: Course, takers: list[Taker]) -> None:
        """Collect what was observed since the last time; as soon as the collection under way is over, if one is."""
        if course.open is not None:
            course.waiting += takers
            return
        stat = course.stat
        course.epoch += 1
        course.last_rows = ()
        uid = f"{stat.name}.{course.epoch}.{self._handle.uuid[:8]}"
        order = self._order(stat, uid, course.epoch, None)
        course.takers = takers = [*self._takers(stat), _Keep(course), *takers]
        if course.judge is not None:
            course.judge.close()
        if stat.definition.compat == COMPAT and self._handle.size > 1:
            course.takers = []
            course.scripted += takers
            self._script.log_it(
                stat, uid, partial(self._logged, course, order, takers), partial(self._lost, course, takers)
            )
            return
        top = Top(
            stat,
            takers,
            lambda tally: self._ended(course, order, takers, tally, top.count),
            partial(self._judge, course, takers),
        )
        course.open = self._member.begin(self._held(stat), order, top, frozenset(self.members(stat)))
        if course.open.is_over:
            course.open = None
            self._next(course)

    def _logged(self, course: Course, order: Order, takers: list[Taker], rows: Rows) -> None:
        """A collection as the script of 2011 has it: all workers have said done."""
        if self.courses.get(course.stat.name) is not course:
            return  # removed meanwhile
        course.scripted = [one for one in course.scripted if one not in takers]
        course.was_partial = True  # its rows do not tell of how many observations they are
        self._judge(course, takers, rows)
        for taker in takers:
            taker.rows(course.stat, rows)
        tally = Tally(ok=set(self.members(course.stat)) - {0}, cut=[order.requested, order.requested])
        self._ended(course, order, takers, tally, len(rows))

    def _lost(self, course: Course, takers: list[Taker], done: int) -> None:
        """Some worker has never said done: to the script of 2011 there has been no such epoch."""
        course.scripted = [one for one in course.scripted if one not in takers]
        text = (
            f"stat {course.stat.name}: {done} of {self._handle.size - 1} workers said done: the epoch is lost"
        )
        for taker in takers:
            taker.lost(course.stat, text)

    def look(self, stat: Stat, key: str, found: Callable[[Row | None, Tally], object]) -> None:
        """The row of one key over all ranks, as it is now; nothing is reset."""
        self._looks += 1
        order = self._order(stat, f"{stat.name}.look{self._looks}.{self._handle.uuid[:8]}", 0, key)
        rows: list[Row] = []
        top = Top(
            stat, [_Gather(rows)], lambda tally: found(rows[0] if rows else None, tally), lambda rows: None
        )
        self._member.begin(self._held(stat), order, top, frozenset(self.members(stat)))

    # -- thresholds

    def reported(self, name: str, epoch: int, key: str, delta: float | None) -> None:
        """A rank tells of a key that is near a level. What belongs to an epoch that is cut comes with its rows."""
        course = self.courses.get(name)
        if course is not None and course.judge is not None and epoch == course.epoch:
            course.judge.reported(key, delta)

    def _view(self, course: Course, key: str) -> None:
        if self.courses.get(course.stat.name) is course:
            self.look(course.stat, key, partial(self.looked, course, course.epoch, key))

    def looked(self, course: Course, epoch: int, key: str, row: Row | None, tally: Tally) -> None:
        """A key has been looked at over all ranks: has it reached a level?"""
        if course.judge is None or epoch != course.epoch:
            return
        is_whole = not (tally.missing or tally.departed or tally.stale)
        crossing = course.judge.looked(key, row, is_whole)
        if crossing is None:
            return
        if self._quota(course.stat, tally) < course.stat.definition.quorum:
            course.held_back.append((course.epoch + 1, crossing))
        else:
            self._cross(course, self._takers(course.stat), crossing, course.epoch + 1)

    def _quota(self, stat: Stat, tally: Tally) -> float:
        """The share of a stat's ranks that are in it."""
        members = self.members(stat)
        return len(tally.ok) / len(members) if members else 1.0

    def _share(self, course: Course, key: str, slack: float, level: float) -> None:
        told = {"name": course.stat.name, "epoch": course.epoch, "key": key}
        for name, value in (("slack", slack), ("level", level)):
            if value != MUTE:
                told[name] = value
        if self._handle.size > 1:
            self._handle.publish(f"{self._handle.name}.slack", told)
        self._member.slack(course.stat.name, course.epoch, key, slack, level)

    def _judge(self, course: Course, takers: list[Taker], rows: Rows) -> None:
        if course.judge is None:
            return
        for crossing in course.judge.judge(rows):
            if course.stat.definition.quorum:
                course.held_back.append((course.epoch, crossing))
            else:
                self._cross(course, takers, crossing, course.epoch)

    def _cross(self, course: Course, takers: list[Taker], crossing: dict[str, Any], epoch: int) -> None:
        crossing["epoch"] = epoch
        self._handle.publish(f"{self._handle.name}.crossed", crossing)
        key = " ".join(f"{name}={value}" for name, value in crossing["key"].items())
        text = f"{course.stat.name}: {key}: {crossing['value']:g} has reached {crossing['level']:g}"
        self._handle.log(syslog.LOG_NOTICE, text)
        for taker in takers:
            taker.crossed(course.stat, crossing)

    def _held(self, stat: Stat) -> Held:
        return self._member.stats[stat.name]

    def _order(self, stat: Stat, uid: str, epoch: int, key: str | None) -> Order:
        definition = stat.definition
        budget = min(definition.timeout, definition.epoch or definition.timeout)
        return Order(
            uid=uid, name=stat.name, hash=stat.hash, epoch=epoch, requested=self._handle.time(), budget=budget,
            members=ranks.format_ranks(self.members(stat)), key=key,
        )  # fmt: skip

    def members(self, stat: Stat) -> list[int]:
        """The ranks a stat counts on."""
        return members_of(stat, self._handle.size)

    def _ended(self, course: Course, order: Order, takers: list[Taker], tally: Tally, rows: int) -> None:
        record = self._record(course, order, tally, rows)
        course.records.append(record)
        course.totals.add(record, tally)
        course.merged = 0
        course.was_partial |= bool(_absent(record) or record["restarted"])
        held_back, course.held_back = course.held_back, []
        for epoch, crossing in held_back:
            if epoch != order.epoch:  # of the epoch that has begun meanwhile
                course.held_back.append((epoch, crossing))
            elif record["is_quorate"]:
                self._cross(course, takers, crossing, epoch)
        if course.judge is not None:
            course.judge.over()
        course.takers = []
        for taker in takers:
            taker.end(course.stat, record)
        if self._handle.size > 1:
            told = {name: record[name] for name in ("name", "uid", "ok", "truncated")}
            self._handle.publish(f"{self._handle.name}.done", told)
        # On one rank nobody needs an event to hear it.
        self._member.done(order.name, order.uid, record["ok"], record["truncated"])
        if course.open is not None:
            self._member.ended(course.open)
            course.open = None
            self._handle.call_later(0.0, self._next, course)

    def _next(self, course: Course) -> None:
        if course.waiting and course.open is None and self.courses.get(course.stat.name) is course:
            takers, course.waiting = course.waiting, []
            self.end_epoch(course, takers)

    def _record(self, course: Course, order: Order, tally: Tally, rows: int) -> dict[str, Any]:
        restarted = tally.fresh & course.seen
        course.seen |= tally.ok
        return {
            "uid": order.uid,
            "name": order.name,
            "epoch": order.epoch,
            "requested": order.requested,
            "cut": tally.cut or [order.requested, order.requested],
            "completed": self._handle.time(),
            "rows": rows,
            **{
                name: ranks.format_ranks(getattr(tally, name))
                for name in ("ok", "missing", "departed", "stale")
            },
            "restarted": ranks.format_ranks(restarted),
            "truncated": [[ranks.format_ranks(who), key] for who, key in tally.truncated],
            **{name: getattr(tally, name) for name in ("carried", "late", "dup", "foreign")},
            "merged_epochs": course.merged,
            "watch_off": course.judge is not None and course.judge.was_off,
            "is_quorate": self._quota(course.stat, tally) >= course.stat.definition.quorum,
            "faults": [tap.fault for tap in self._held(course.stat).table.taps if tap.fault],
        }


def _absent(record: dict[str, Any]) -> str:
    """The ranks that are not, or not wholly, in an epoch."""
    sets = [record[name] for name in ("missing", "departed", "stale")]
    return ",".join(filter(None, [*sets, *(who for who, _ in record["truncated"])]))


class _Keep(Taker):
    """The rows of the last epoch, as many as there is room for."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def rows(self, stat: Stat, rows: Rows) -> None:
        self._course.emitted += observations(rows)
        kept = self._course.last_rows
        self._course.last_rows = joined(kept, rows[: ROWS - len(kept)])

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        """They stay until the next epoch ends."""


class _Gather(Taker):
    def __init__(self, found: list[Row]) -> None:
        self._found = found

    def rows(self, stat: Stat, rows: Rows) -> None:
        self._found += rows

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        """A look has no record."""
