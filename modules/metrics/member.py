"""Knows a rank's part in every stat: its tables, its answers to collections, its snapshots until those are over."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import attrs

from brokersim.brokermod import Handle, Message, RequestError, errnums, ranks

from .collection import Collection, Counts, Parent
from .merge import key_of
from .messages import Ended
from .outside import HandleOutside
from .stat import Rows, Stat
from .table import Clock, Table, observations
from .watch import Watch
from .wire import LIFE_MIN, Frame, Order, Tally, to_set

#: Snapshots of one stat that wait for metrics.done: beyond it the oldest is taken for not taken over.
_KEPT = 64


class Upward(Parent):
    """The rank above, over the stream it opened."""

    is_wire = True

    def __init__(self, handle: Handle, request: Message, order: Order) -> None:
        self.credit = order.credit
        self._handle = handle
        self.request = request
        self._uid = order.uid
        self._seq = 0
        self.heard = handle.now()
        #: Key of the last row that is out.
        self.last: str | None = None
        #: Told when the last frame is out.
        self.ended: Callable[[], object] = lambda: None

    def send(self, rows: Rows, size: int, tally: Tally | None) -> None:
        self.credit -= 1
        if rows:
            self.last = key_of(rows[-1])
        told = {} if tally is None else tally.to_dict()
        is_last = tally is not None
        self._respond(Frame(self._uid, self._handle.rank, self._seq, rows, is_last, tally=told, size=size))
        self._seq += 1
        if tally is not None:
            self._handle.respond_error(self.request, errnums.ENODATA)
            self.ended()

    def refuse(self) -> None:
        """This rank has no part in it; the parent asks those below by itself."""
        self._respond(Frame(self._uid, self._handle.rank, 0, refused=True))
        self._handle.respond_error(self.request, errnums.ENODATA)

    def live(self) -> None:
        """A sign of life."""
        self._respond(Frame(self._uid, self._handle.rank, -1))

    def _respond(self, frame: Frame) -> None:
        self.heard = self._handle.now()
        self._handle.respond(self.request, frame.to_dict())


@attrs.define(eq=False)
class Held:
    """One stat on this rank."""

    stat: Stat
    table: Table
    #: Begun in the middle of this epoch: what was counted before, if anything, is not here.
    is_fresh: bool
    unlisten: Callable[[], object]
    #: Rows sent in a collection whose end nobody has told yet, by uid.
    snapshots: dict[str, Rows] = attrs.field(factory=dict)
    #: Rows carried since the last cut, and ever; collections this rank had a part in.
    carried: int = 0
    carried_ever: int = 0
    collections: int = 0
    counts: Counts = attrs.field(factory=Counts)
    #: Number of the last collection that has cut this table.
    epoch: int = 0
    watch: Watch | None = None

    @property
    def kept(self) -> int:
        """Observations in snapshots of collections whose end nobody has told yet."""
        return sum(observations(rows) for rows in self.snapshots.values())

    def carry(self, rows: Rows) -> None:
        """Count them in the next epoch."""
        self.table.carry(rows)
        self.carried += len(rows)
        self.carried_ever += len(rows)
        if self.watch is not None:
            self.watch.carried(rows)

    def settle(
        self, uid: str, rank: int, ok: AbstractSet[int], truncated: list[tuple[AbstractSet[int], str]]
    ) -> None:
        """A collection has ended: what of the snapshot is not in its rows comes back."""
        rows = self.snapshots.pop(uid, None)
        if rows is None or rank in ok:
            return
        last = next((key for who, key in truncated if rank in who), None)
        self.carry([row for row in rows if last is None or key_of(row) > last])


def members_of(stat: Stat, size: int) -> list[int]:
    """The ranks a stat counts on, of those an instance has."""
    try:
        return ranks.parse_ranks(stat.definition.ranks, size)
    except ValueError:
        return [rank for rank in sorted(to_set(stat.definition.ranks)) if rank < size]


class Member:
    """This rank's stats and the collections that run through it."""

    def __init__(
        self,
        handle: Handle,
        outside: HandleOutside,
        sample: Callable[[Stat, Callable[[], object]], object],
        report: Callable[[str, int, str, float | None], object],
    ) -> None:
        self.stats: dict[str, Held] = {}
        self._handle = handle
        self._outside = outside
        #: Brings streams up to date that are not observed but looked at, then goes on.
        self._sample = sample
        #: Tells rank 0 what a key of a stat grew by, in which epoch.
        self._report = report
        self._open: dict[str, tuple[Collection, Upward]] = {}
        self._late: list[Collection] = []
        self._clock = Clock(handle.reactor, handle.time() - handle.now())

    # -- definitions

    def define(self, stat: Stat, is_fresh: bool, epoch: int = 0) -> bool:
        """Count for a stat from now on; False if it is known already. Another of its name is given up."""
        known = self.stats.get(stat.name)
        if known is not None and known.stat.hash == stat.hash:
            return False
        if known is not None:
            self.drop(stat.name)
        seed = self._handle.attr_get("seed") or ""
        table = Table(stat, self._handle.rank, self._clock, seed)
        ends = [self._handle.listen(tap.stream.name, tap.listener()) for tap in table.taps]
        held = self.stats[stat.name] = Held(
            stat, table, is_fresh, lambda: [end() for end in ends], epoch=epoch
        )
        if stat.is_watched:
            members = len(members_of(stat, self._handle.size))
            held.watch = Watch(stat, table, members, partial(self._grew, held))
        return True

    def _grew(self, held: Held, key: str, by: float | None) -> None:
        self._report(held.stat.name, held.epoch, key, by)

    def drop(self, name: str) -> None:
        """Count no more for it."""
        held = self.stats.pop(name, None)
        if held is not None:
            held.unlisten()
            self._outside.forget_stat(name)
        for uid, (collection, _) in list(self._open.items()):
            if collection.stat.name == name:  # nobody waits for it any more
                del self._open[uid]
                collection.abandon()
                collection.forget()

    # -- collections

    def collect(self, msg: Message, order: Order) -> bool:
        """The rank above wants the rows of this subtree. False if the stat is not the one it means.

        Raises RequestError(EPROTO) for members that are no ranks.
        """
        try:
            members = to_set(order.members)
        except ValueError as error:
            raise RequestError(errnums.EPROTO, f"{msg.topic}: members: {error}") from None
        up = Upward(self._handle, msg, order)
        held = self.stats.get(order.name)
        if held is None or held.stat.hash != order.hash:
            up.refuse()
            return False
        if order.uid in self._open:
            self._handle.respond_error(msg, errnums.EEXIST, f"{order.uid} is being collected here already")
            return True
        collection = self.begin(held, order, up, members)
        if collection.is_over:
            self.ended(collection)
            return True
        self._open[order.uid] = collection, up
        up.ended = lambda: self._note_end(order.uid)
        if order.life > 0:
            life = max(order.life, LIFE_MIN)
            self._outside.call_later(life, self._live, collection, up, life)
        return True

    def begin(self, held: Held, order: Order, parent: Parent, members: frozenset[int]) -> Collection:
        """Ask below, then cut the own table."""
        collection = Collection(self._outside, held.stat, order, parent, held.carry, held.counts)
        held.collections += 1
        collection.ask_below(members)
        is_member = self._handle.rank in members
        if not is_member:
            collection.give_own([], self._clock.time(), False, False)
        elif order.key is not None:
            self._sample(held.stat, partial(self._show, held, collection, order.key))
        else:
            self._sample(held.stat, partial(self._cut, held, collection))
        collection.limit_time()
        self._late = [one for one in self._late if self._still_awaits(one, order.name)]
        return collection

    def _show(self, held: Held, collection: Collection, key: str) -> None:
        if collection.is_over:
            return  # out of time before the own streams were looked at
        if held.watch is not None:
            held.watch.looked_at(key)
        collection.give_own(held.table.peek(key), self._clock.time(), held.is_fresh, True)

    def _cut(self, held: Held, collection: Collection) -> None:
        order = collection.order
        self._take_back(held, order.uid)
        if held.snapshots and self._handle.rank:
            # The event that tells of them comes before the next order, unless it was lost on its way.
            wish = {"name": order.name, "uids": [*held.snapshots]}
            self._handle.request(f"{self._handle.name}.outcomes", wish, self._told_late, nodeid=0)
        rows: Rows = held.table.cut()
        held.epoch = order.epoch
        if held.watch is not None:
            held.watch.reset()
        collection.tally.carried, held.carried = held.carried, 0
        if held.stat.definition.retain:
            rows = held.snapshots[order.uid] = rows[:]
            while len(held.snapshots) > _KEPT:
                held.settle(next(iter(held.snapshots)), self._handle.rank, set(), [])
        is_fresh, held.is_fresh = held.is_fresh, False
        if collection.is_over:  # out of time before the own streams were looked at
            held.carry(rows)
        else:
            collection.give_own(rows, self._clock.time(), is_fresh, True)

    def _told_late(self, response: Message, _arg: object) -> None:
        try:
            ended = [] if response.errnum else response.unpack(Ended).ended
        except (RequestError, TypeError):
            return  # it is asked again with the next collection
        for one in ended:
            self.done(one.name, one.uid, one.ok, one.truncated)

    def _take_back(self, held: Held, uid: str) -> None:
        """What was kept for a rank 0 that is gone comes back: of its collections nobody will tell any more."""
        boot = uid.rpartition(".")[2]
        for known in [known for known in held.snapshots if known.rpartition(".")[2] != boot]:
            held.settle(known, self._handle.rank, set(), [])

    def _live(self, collection: Collection, up: Upward, life: float) -> None:
        if collection.is_over:
            return
        left = up.heard + life - self._outside.now()
        if left <= 1e-9:
            up.live()
            left = life
        self._outside.call_later(left, self._live, collection, up, life)

    def credit(self, uid: str, frames: int) -> None:
        """The rank above can take more."""
        found = self._open.get(uid)
        if found is not None and frames > 0:
            found[1].credit += frames
            found[0].pump()

    def _note_end(self, uid: str) -> None:
        found = self._open.get(uid)
        if found is not None:
            del self._open[uid]
            self.ended(found[0])

    def ended(self, collection: Collection) -> None:
        """Children that were given up are listened to until the stat's next collection."""
        if collection.awaits:
            self._late.append(collection)

    def _still_awaits(self, one: Collection, name: str) -> bool:
        if one.awaits and one.stat.name == name:
            one.forget()
        return one.awaits

    def disconnect(self, sender: str) -> None:
        """Whoever asked is gone: what was not sent stays here, for the next epoch."""
        for uid, (collection, up) in list(self._open.items()):
            if up.request.sender == sender:
                del self._open[uid]
                self.abandon(collection)

    def leave(self) -> None:
        """This rank goes: what was not sent is in its tables, to be handed over. What was is in, up to that key."""
        for uid, (collection, up) in list(self._open.items()):
            del self._open[uid]
            held = self.stats.get(collection.stat.name)
            if held is not None and held.stat.definition.retain and up.last is not None:
                rank = self._handle.rank
                held.settle(uid, rank, set(), [({rank}, up.last)])
            self.abandon(collection)
        for held in self.stats.values():
            held.snapshots.clear()

    def abandon(self, collection: Collection) -> None:
        """Nobody wants its rows any more."""
        rows = collection.abandon()
        held = self.stats.get(collection.stat.name)
        if held is not None and collection.order.key is None:
            if held.stat.definition.retain:
                held.settle(collection.order.uid, self._handle.rank, set(), [])
            else:
                held.carry(rows)
        self.ended(collection)

    def done(self, name: str, uid: str, ok: str, truncated: list[tuple[str, str]]) -> None:
        """Rank 0 says what is in the rows of a collection."""
        held = self.stats.get(name)
        if held is not None:
            held.settle(uid, self._handle.rank, to_set(ok), [(to_set(who), key) for who, key in truncated])

    def slack(self, name: str, epoch: int, key: str, slack: float, level: float) -> None:
        """Rank 0 shares out anew what may be held back of a key; of no key: nothing is watched until the epoch ends."""
        held = self.stats.get(name)
        if held is not None and held.watch is not None and held.epoch == epoch:
            if key:
                held.watch.told(key, slack, level)
            else:
                held.watch.off()

    def streams(self) -> set[str]:
        """The streams somebody counts here."""
        return {stream.name for held in self.stats.values() for stream in held.stat.streams}

    @property
    def open(self) -> int:
        """Collections of ranks above that run here."""
        return len(self._open)

    def refused(self) -> dict[str, int]:
        """Per stat: observations that could not be counted."""
        return {name: sum(tap.refused for tap in held.table.taps) for name, held in self.stats.items()}

    def figures(self) -> dict[str, Any]:
        """Per stat: keys held, what was refused, and how often what happened."""
        refused = self.refused()
        return {
            name: {
                "keys": held.table.size,
                "refused": refused[name],
                "overflow": sum(tap.overflowed for tap in held.table.taps),
                "faults": [tap.fault for tap in held.table.taps if tap.fault],
                "collections": held.collections,
                **attrs.asdict(held.counts),
                "carried": held.carried_ever,
            }
            for name, held in self.stats.items()
        }
