"""Knows the faults a plan may hold, which model has which, and how each begins and ends in a running example.

A model says what can happen where a module will live. ``flux``: what happens to a Flux instance, where messages between
two brokers are neither lost nor doubled nor change places. ``hostile``: everything else, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from brokersim.host.course import FINALIZING, RUNNING, Loaded
from brokersim.kit.databases import databases
from brokersim.kit.restarts import crash, end_all, ranks_below, restart
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import Message
from brokersim.reactor.loop import NS
from brokersim.services.composition import START_ARGS

if TYPE_CHECKING:
    from brokersim.explore.disk import Disk
    from brokersim.explore.plan import PlannedFault
    from brokersim.explore.world import World
    from brokersim.instance import Instance
    from brokersim.kit.fault import Fault
    from brokersim.routing.link import Link, Receive

End = Callable[[], object]
#: Seconds between attempts to load a module that cannot be loaded yet, because of another fault.
_AGAIN = 0.5


class SlowLinks:
    """Delays of links, both directions; what one link carries stays in order."""

    def __init__(self, world: World) -> None:
        self._reactor = world.instance.reactor
        #: Seconds by the lower end of a link.
        self.late: dict[int, float] = {}
        self._last: dict[Link, int] = {}
        world.witness.ledger.fault = self._carry

    @property
    def busy_until(self) -> int:
        """When (ns) all that is on them has come."""
        return max(self._last.values(), default=0)

    def _carry(self, link: Link, rank: int, receive: Receive, message: Message) -> bool:
        late = self.late.get(max(rank, link.peer.rank), 0.0)
        when = self._reactor.now + link.latency + round(late * NS)
        last = self._last[link] = max(when, self._last.get(link, 0))
        self._reactor.call_at(last, receive, message)
        return True


@attrs.frozen(kw_only=True, eq=False)
class LoadAgain:
    """A module that is to be loaded again, as often as that takes; a rank that was started anew does it itself.

    It was hindered unless who keeps things for it is there as ``before`` it went, and refused nobody meanwhile.
    """

    world: World
    rank: int
    name: str
    path: str
    #: Of the rank, before.
    broker: object
    before: tuple[int, Loaded] | None

    def __call__(self) -> None:
        instance, rank = self.world.instance, self.rank
        if instance.broker(rank) is not self.broker or rank in self.world.down:
            return
        if any(module.name == self.name for module in instance.modules(rank)):
            return
        try:
            instance.loaded.load(rank, self.path, START_ARGS.get(self.name, ()), self.name, self._loaded)
        except RequestError as error:
            self._loaded(error)

    def _loaded(self, error: RequestError | None) -> None:
        if self.before is None or _refusals(self.world) != self.before:
            self.world.hindered[self.rank, self.name] = None
        if error is not None:
            self.world.instance.reactor.call_later(_AGAIN, self)


class Trouble:
    """The faults of one example."""

    def __init__(self, world: World, disk: Disk | None, hits: dict[str, int]) -> None:
        self.world = world
        self.instance = world.instance
        self.disk = disk
        #: What ended the whole instance.
        self.over: PlannedFault | None = None
        self._links: SlowLinks | None = None
        self._open: dict[End, PlannedFault] = {}
        #: How often each kind hit anything.
        self.hits = hits
        self._begun: list[Fault] = []

    def begin(self, planned: PlannedFault) -> None:
        """Let it happen; it ends by itself."""
        try:
            end = KINDS[planned.kind](self, planned)
        except (ValueError, RequestError):
            return  # there is nothing it could hit: an earlier fault was there first
        text = " ".join(filter(None, (planned.kind, planned.to)))
        self.world.note("fault", text, planned.rank)
        if end is None:
            return
        self._open[end] = planned
        self.instance.reactor.call_later(planned.seconds, self._end, end)

    def _end(self, end: End) -> None:
        planned = self._open.pop(end, None)
        if planned is not None:
            self.world.note("end", f"{planned.kind} ends", planned.rank)
            end()

    @property
    def is_open(self) -> bool:
        """Some have begun and not ended."""
        return bool(self._open)

    def heal(self) -> None:
        """End all of them."""
        while self._open:
            self._end(next(iter(self._open)))
        self.world.witness.faults.release()
        begun, self._begun = self._begun, []
        for fault in begun:
            if fault.hits:
                self.hit(fault.kind)
            else:
                self._begun.append(fault)  # messages that it would hit may be sent yet

    def hit(self, kind: str) -> None:
        self.hits[kind] = self.hits.get(kind, 0) + 1

    # -- kinds

    def slow(self, planned: PlannedFault) -> End | None:
        if not 0 < planned.rank < self.instance.size:
            return None
        if self._links is None:
            self._links = SlowLinks(self.world)
        late = self._links.late
        late[planned.rank] = planned.delay
        self.hit("slow")
        return partial(late.pop, planned.rank, None)

    def crash(self, planned: PlannedFault) -> End | None:
        if planned.rank == 0:
            self.lose_instance(planned)
            return None
        return self._lose_rank(planned, is_sudden=True)

    def lost_sync(self, planned: PlannedFault) -> End | None:
        """The disk says that it has synced, and has not. That shows at a power cut."""
        disk = self.disk
        if disk is None:
            return None
        disk.lies = True
        self.hit(planned.kind)
        return partial(setattr, disk, "lies", False)

    def lose_instance(self, planned: PlannedFault) -> None:
        """Rank 0 ends at once, and with it all others; only a state directory outlives that.

        At a power cut with what its disk may hold then; ``count`` chooses which.
        """
        if self.disk is None or self.over is not None or not _keeps_files(self.instance):
            return
        self.over = planned
        self.hit(planned.kind)
        found = [one for module in self.instance.modules(0) for one in databases(module.handle.body)]
        end_all(self.instance)
        self.disk.kill([one for one in found if isinstance(one, sqlite3.Connection)])
        if planned.kind == "power-cut":
            self.world.was_lied_to |= self.disk.lies
            self.world.was_cut = True
            self.disk.cut(planned.count)
        self.disk.lies = False
        self.world.end_life()

    def disconnect(self, planned: PlannedFault) -> End | None:
        return self._lose_rank(planned, is_sudden=False)

    def _lose_rank(self, planned: PlannedFault, *, is_sudden: bool) -> End | None:
        world, rank = self.world, planned.rank
        if not 0 < rank < self.instance.size or rank in world.down:
            return None
        ranks = dict.fromkeys(ranks_below(self.instance, rank))
        if is_sudden:
            crash(world.witness.ledger, rank, self._excuse)
        else:
            fault = world.witness.faults.add("disconnect", rank=rank)
            fault.is_on = False  # it is ended here, for the books of this example
        for one in ranks:
            world.disturbed |= dict.fromkeys((one, module) for module in self.instance.settings.modules)
        world.down |= ranks
        world.were_down |= ranks
        self.hit(planned.kind)
        return partial(self._bring_back, rank, ranks)

    def _bring_back(self, rank: int, ranks: dict[int, None]) -> None:
        # A rank above may be down still, or have come back with all below already.
        if not any(one in self.world.down for one in ranks):
            return
        restart(self.world.witness.ledger, rank)
        for one in ranks:
            self.world.down.pop(one, None)

    def _excuse(self, request: Message) -> None:
        self.world.witness.ledger.conversations.excuse((request.src.uuid, request.matchtag))

    def kill(self, planned: PlannedFault) -> End | None:
        name, rank = str(planned.to), planned.rank
        module = self.instance.module(rank, name)
        if _is_in_start(module, self.world):
            return None
        self.world.disturbed[rank, name] = None
        self.hit("kill")
        module.crashed(RuntimeError("killed on purpose"), None)
        return self._load_again(module)

    def reload(self, planned: PlannedFault) -> End | None:
        name, rank = str(planned.to), planned.rank
        module = self.instance.module(rank, name)
        if module.status >= FINALIZING or _is_in_start(module, self.world):
            return None
        self.world.disturbed[rank, name] = None
        self.hit("reload")
        load = self._load_again(module)
        module.stop(lambda _: self.instance.reactor.call_later(planned.seconds, load))
        return None

    def _load_again(self, module: Loaded) -> LoadAgain:
        rank = module.handle.broker.rank
        return LoadAgain(
            world=self.world,
            rank=rank,
            name=module.name,
            path=str(module.path),
            broker=self.instance.broker(rank),
            before=_refusals(self.world),
        )

    def links_are_busy_until(self) -> int:
        """When (ns) the last message has come that a slow link carries."""
        return self._links.busy_until if self._links is not None else 0

    def fail(self, planned: PlannedFault) -> End:
        return self._message_fault(
            "fail", topic=planned.to, rank=planned.rank, errnum=planned.errnum, count=planned.count
        )

    def fill_disk(self, planned: PlannedFault) -> End | None:
        return self._message_fault("fill-disk") if _has_database(self.instance) else None

    def fail_disk(self, planned: PlannedFault) -> End | None:
        if self.disk is None or not _has_database(self.instance):
            return None
        return self._message_fault("fail-disk")

    def hostile(self, planned: PlannedFault) -> End:
        more = {"seconds": planned.delay} if planned.kind == "delay" else {}
        return self._message_fault(
            planned.kind, topic=planned.to, rank=planned.rank, count=planned.count, **more
        )

    def _message_fault(self, kind: str, **wanted: object) -> End:
        fault = self.world.witness.faults.add(kind, **wanted)
        self._begun.append(fault)
        return fault.stop


def _keeps_files(instance: Instance) -> bool:
    """SQLite's files are open: while it closes or opens them it syncs by itself what it needs."""
    return any(module.name == "content-sqlite" and module.status == RUNNING for module in instance.modules(0))


def _has_database(instance: Instance) -> bool:
    """Whoever keeps one on rank 0 may be about to end, or gone."""
    return any(databases(module.handle.body) for module in instance.modules(0))


def _refusals(world: World) -> tuple[int, Loaded] | None:
    """What changes if who hands on what it keeps, or looks for it, is refused; None: nobody is there to ask."""
    stores = [one for one in world.instance.modules(0) if one.name == "content-sqlite"]
    if not stores or stores[0].status != RUNNING:
        return None
    return sum(len(one.hits) for one in world.witness.faults.all), stores[0]


def _is_in_start(module: Loaded, world: World) -> bool:
    """Its rank is being started anew and waits for it: ended now, it would end the start, as in Flux, for good."""
    return module.life.is_awaited and module.handle.broker.rank in world.were_down


_Begin = Callable[[Trouble, "PlannedFault"], "End | None"]
#: What happens to a Flux instance.
FLUX: Final[dict[str, _Begin]] = {
    "slow": Trouble.slow,
    "crash": Trouble.crash,
    "kill": Trouble.kill,
    "reload": Trouble.reload,
    "fail": Trouble.fail,
    "fill-disk": Trouble.fill_disk,
    "fail-disk": Trouble.fail_disk,
    "power-cut": Trouble.lose_instance,
    "lost-sync": Trouble.lost_sync,
}
#: Of these, what only an instance with a state directory can have; `crash` of rank 0 is one, too.
ON_DISK: Final = ("fail-disk", "power-cut", "lost-sync")
#: What no Flux does to a message.
HOSTILE: Final[dict[str, _Begin]] = {
    "disconnect": Trouble.disconnect,
    "drop": Trouble.hostile,
    "delay": Trouble.hostile,
    "duplicate": Trouble.hostile,
    "reorder": Trouble.hostile,
}
KINDS: Final[dict[str, _Begin]] = {**FLUX, **HOSTILE}
MODELS: Final[dict[str, tuple[str, ...]]] = {"none": (), "flux": tuple(FLUX), "hostile": tuple(KINDS)}
#: Kinds after which a request may never be answered, and what was acknowledged may have got lost.
LOSSY: Final = frozenset({"drop", "duplicate", "reorder"})
