"""Knows one collection on one rank: rows of its own and of its children become frames for its parent, or the result.

It doesn't know how messages travel (`Outside`), nor what an epoch is (root). Whatever happens to a child, the
collection ends: with what there is, and with the names of those who are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs
import msgspec

from brokersim.brokermod import errnums, sums

from .limits import Limit
from .link import DONE, EXPIRED, GONE, LIVE, Link, Timers
from .merge import OWN, Merge, joined
from .stat import Row, Rows, Stat
from .table import Cut
from .wire import CREDIT, FRAME_MAX, Frame, Order, Tally, to_text


class Outside(Timers, Protocol):
    """What a collection asks of the rank it is on."""

    rank: int

    def limit(self, name: str, rank: int) -> Limit:
        """What is known of a child's answers to this stat."""

    def below(self, rank: int) -> tuple[tuple[int, frozenset[int]], ...]:
        """The children of a rank, each with its subtree, itself included."""

    def ask(self, rank: int, order: Order, heard: Callable[[int, Any], object]) -> Any:
        """Send the order; ``heard(errnum, payload)`` gets every answer. Returns the request."""

    def forget(self, request: Any) -> None:
        """Give a request up."""

    def grant(self, rank: int, uid: str, frames: int) -> None:
        """Let a child send more."""


class Parent(Protocol):
    """Who a collection is for: the rank above, or the end of the tree."""

    #: Frames that may be sent; one is used up by each.
    credit: int
    #: What is sent are frames, of limited size.
    is_wire: bool

    def send(self, rows: Rows, size: int, tally: Tally | None) -> None:
        """The next rows, which are so many bytes as JSON; the last come with the tally."""


@attrs.define
class Counts:
    """Frames of children that one rank has had for one stat, their bytes, those that came late, twice, from nowhere."""

    frames: int = 0
    #: Of their rows as they are on a wire, also of frames that have never been on one.
    bytes: int = 0
    late: int = 0
    dup: int = 0
    foreign: int = 0


class Collection:
    """One uid on one rank."""

    def __init__(
        self,
        outside: Outside,
        stat: Stat,
        order: Order,
        parent: Parent,
        carry: Callable[[Rows], object],
        counts: Counts | None = None,
    ) -> None:
        self.stat = stat
        self.order = order
        self.is_over = False
        self.tally = Tally()
        self._counts = counts or Counts()
        self._outside = outside
        self._parent = parent
        self._carry = carry
        self._merge = Merge(stat.merge_all)
        self._out: Rows = []
        self._links: dict[int, Link] = {}
        #: Links of which so many frames came that they may be let send more.
        self._due: set[Link] = set()
        self._began = outside.now()
        self._deadline: Any = None

    # -- down

    def ask_below(self, members: frozenset[int]) -> None:
        """Ask the children whose subtrees have members; before the own table is cut, so that all are at one time."""
        self._ask(self._outside.below(self._outside.rank), members)

    @property
    def _left(self) -> float:
        """Seconds of the budget."""
        return self.order.budget - (self._outside.now() - self._began)

    def limit_time(self) -> None:
        """Come to an end within the budget. Who waits for nobody needs no timer: it ends as its own rows are there."""
        if self._deadline is None and not self.is_over:
            self._deadline = self._outside.call_later(self._left, self.expire)

    def _ask(self, below: Iterable[tuple[int, frozenset[int]]], members: frozenset[int]) -> None:
        for rank, subtree in below:
            wanted = subtree if subtree <= members else subtree & members
            if wanted:
                self.limit_time()
                link = Link(rank, wanted, self._outside.limit(self.stat.name, rank), self._outside)
                self._links[rank] = link
                self._merge.add(rank)
                self._ask_one(link)

    def _ask_one(self, link: Link) -> None:
        left = max(0.0, self._left)
        budget = max(left - link.limit.margin(), left / 2)
        order = msgspec.structs.replace(
            self.order,
            budget=budget,
            members=to_text(link.members),
            credit=CREDIT,
            life=link.limit.seconds(budget) / 2,
        )
        link.request = self._outside.ask(
            link.rank, order, lambda errnum, data: self.heard(link, errnum, data)
        )
        link.watch(left, self._silent)

    def give_own(self, rows: Rows, cut: float, is_fresh: bool, is_member: bool) -> None:
        """The own rows, after the cut at that time."""
        self._merge.give(OWN, rows, rows.keys if isinstance(rows, Cut) or sums.is_sums(rows) else None)
        self._merge.end(OWN)
        if is_member:
            self.tally.ok.add(self._outside.rank)
            self.tally.cut = (
                [cut, cut] if not self.tally.cut else [min(cut, *self.tally.cut), max(cut, *self.tally.cut)]
            )
            if is_fresh:
                self.tally.fresh.add(self._outside.rank)
        self.pump()

    # -- answers

    def heard(self, link: Link, errnum: int, data: Any) -> None:
        """An answer of a child: a frame, the end of its stream, or why there is none."""
        if errnum:
            self._refused(link, errnum)
            return
        try:
            frame = msgspec.convert(data, Frame)
        except msgspec.ValidationError:
            self.tally.foreign += 1
            self._counts.foreign += 1
            return
        if frame.uid != self.order.uid or frame.rank != link.rank:
            self.tally.foreign += 1
            self._counts.foreign += 1
            return
        link.heard()
        if frame.seq < 0:
            return  # a sign of life
        ready = link.in_order(frame)
        if ready is None:
            self.tally.dup += 1
            self._counts.dup += 1
            return
        for one in ready:
            self._take(link, one)
        self.pump()

    def _take(self, link: Link, frame: Frame) -> None:
        self._counts.frames += 1
        self._counts.bytes += frame.size
        if link.state != LIVE:
            self._take_late(link, frame)
            return
        if frame.refused:
            self._adopt(link, self.tally.stale)
            return
        try:
            tally = Tally.from_dict(frame.tally) if frame.done else None
            self._merge.give(link.rank, *_read(self.stat, frame.rows))
        except (ValueError, TypeError, IndexError, AttributeError):
            self.tally.foreign += 1
            self._counts.foreign += 1
            return
        link.unmerged += 1
        if link.unmerged >= CREDIT // 2:
            self._due.add(link)
        if tally is not None:
            link.close(DONE)
            self._merge.end(link.rank)
            self.tally.add(tally)

    def _take_late(self, link: Link, frame: Frame) -> None:
        """Rows of a child that was given up: they count in the next epoch, unless they come back by themselves."""
        self.tally.late += 1
        self._counts.late += 1
        if (
            self.stat.definition.late == "merge-next"
            and not self.stat.definition.retain
            and self.order.key is None
        ):
            self._carry(frame.rows)
        if frame.done:
            link.request = None
        else:
            self._outside.grant(link.rank, self.order.uid, 1)

    def _refused(self, link: Link, errnum: int) -> None:
        """ENODATA ends every stream. The module is not there, the rank is not there, the child gave up: go on."""
        link.request = None
        if link.state != LIVE:
            return
        if errnum == errnums.ENOSYS:
            self._adopt(link, self.tally.stale)
        elif self._merge.shown(link.rank) is None:
            self._lose(link, GONE, self.tally.departed)
        else:
            self._lose(link, GONE, self.tally.missing)
        self.pump()

    def _adopt(self, link: Link, named: set[int]) -> None:
        """A child that has no part in it: name it, ask those below it directly. Nothing was merged yet."""
        named |= link.members & {link.rank}
        link.close(GONE)
        self._merge.end(link.rank)
        self._ask(self._outside.below(link.rank), link.members - {link.rank})

    def _silent(self, link: Link) -> None:
        link.limit.expired()
        self._lose(link, EXPIRED, self.tally.missing)
        self.pump()

    def _lose(self, link: Link, state: str, named: set[int]) -> None:
        """Go on without a child: what it sent is in, up to its last key."""
        link.close(state)
        shown = self._merge.shown(link.rank)
        if shown is None:
            named |= link.members
        else:
            self.tally.truncated.append((sorted(link.members), shown))
        self._merge.end(link.rank)

    def expire(self) -> None:
        """No child is waited for any longer."""
        for link in list(self._links.values()):
            if link.state == LIVE:
                link.limit.expired()
                self._lose(link, EXPIRED, self.tally.missing)
        self.pump()

    # -- up

    def pump(self) -> None:
        """Send what can be sent."""
        while not self.is_over and self._parent.credit > 0:
            self._merge_some()
            if not self._out and not self._merge.is_over:
                return  # as at most frames of most children: another is waited for
            count, size = self._next_frame()
            if count < len(self._out):
                self._parent.send(self._cut(count), size, None)
            elif self._merge.is_over:
                self._finish(size)
            else:
                return

    def _merge_some(self) -> None:
        """Have more rows at hand than a frame takes, if there are; not all: what is merged early only lies about."""
        group = self.stat.definition.group
        while len(self._out) <= group and (rows := self._merge.take(CREDIT * group)):
            self._out = joined(self._out, rows)
        self._thank()

    def _next_frame(self) -> tuple[int, int]:
        """Rows of the next frame, as many as are in a group and fit, at least one; and their bytes as JSON."""
        group = self._out[: self.stat.definition.group]
        if not self._parent.is_wire or (
            self.stat.is_small and len(self._out) == len(group) and not self._merge.is_over
        ):
            return len(group), 0  # nobody measures it, or there is room for more
        return _fitting(group)

    def _cut(self, size: int) -> Rows:
        rows, self._out = self._out[:size], self._out[size:]
        return rows

    def _thank(self) -> None:
        """A child all of whose rows are merged may send as many more frames, told two at a time: half its credit."""
        if not self._due:
            return
        for link in [one for one in self._links.values() if one in self._due]:
            if link.state != LIVE:
                self._due.remove(link)
            elif not self._merge.has_left(link.rank):
                self._due.remove(link)
                self._outside.grant(link.rank, self.order.uid, link.unmerged)
                link.unmerged = 0

    def _finish(self, size: int) -> None:
        self._end()
        rows, self._out = self._out, []
        self._parent.send(rows, size, self.tally)

    # -- the end

    def _end(self) -> None:
        self.is_over = True
        if self._deadline is not None:
            self._deadline.cancel()

    def abandon(self) -> list[Row]:
        """Nobody wants it any more. Returns the rows that were not sent; what still comes of children is late."""
        self._end()
        for link in self._links.values():
            if link.state == LIVE:
                link.close(EXPIRED)
        rows = [*self._out, *self._merge.drain()]
        self._out = []
        return rows

    @property
    def awaits(self) -> bool:
        """Some child that was given up may still send."""
        return any(link.request is not None for link in self._links.values())

    def forget(self) -> None:
        """Give up what is still open."""
        for link in self._links.values():
            if link.request is not None:
                self._outside.forget(link.request)
                link.request = None


def _read(stat: Stat, rows: Any) -> tuple[Rows, list[str] | None]:
    """The rows of a frame, with their keys if they are known to ascend: those that C can keep."""
    if sums.is_sums(rows):
        return (rows, rows.keys) if stat.is_one_sum else (list(rows), None)
    read = None if not sums.is_compiled or not stat.is_one_sum else sums.Sums.read(rows)
    return (rows, None) if read is None else (read, read.keys)


def _fitting(group: Rows) -> tuple[int, int]:
    """So many of these rows fit into a frame, at least one; and their bytes as JSON."""
    if sums.is_sums(group):
        return group.fit(FRAME_MAX)
    size = len(msgspec.json.encode(group))
    if size <= FRAME_MAX:
        return len(group), size
    count, size = 0, 2
    for row in group:
        more = len(msgspec.json.encode(row)) + 1
        if count and size + more > FRAME_MAX:
            break
        count, size = count + 1, size + more
    return count, size
