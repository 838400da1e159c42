"""Knows what a rank's metrics service does by itself and hears from other ranks; what it is asked is in `asked`.

One file a thing: `table` counts, `merge` and `collection` gather over the tree, `member` is a rank's part in it, `root`
ends epochs on rank 0, `judge` and `watch` know thresholds, `answers` and `outlets` tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from brokersim.brokermod import (
    BrokerLogger,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    quoted,
    request_handler,
)

from . import keys, stat, store, values
from .asked import Asked
from .counters import STREAM, Counters
from .jobs import STREAM as JOBS
from .jobs import JobStates
from .leaving import end_epochs, hand_over
from .member import Member
from .messages import (
    ClusterCollect,
    ClusterResults,
    Credit,
    Define,
    Done,
    Handover,
    Observation,
    Observations,
    Report,
    Slack,
)
from .outlets import Outlets
from .outside import HandleOutside, Tree
from .root import Root
from .stat import Stat
from .wire import Order
from .zeek import Script

T = TypeVar("T")


class Metrics(Asked):
    """Statistics of a whole instance: observed on every rank, merged up the tree, cut into epochs."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(errnums.EINVAL, f"module {self.name!r} takes no arguments, not {args[0]!r}")
        self._tree = Tree()
        self._counters = Counters(h)
        self._jobs = JobStates(h, lambda: JOBS in self._member.streams())
        self._member = Member(h, HandleOutside(h, self._tree), self._sample, self._report)
        self._outlets = Outlets(h)
        self._script = Script(h, self._member)

    async def ready(self) -> None:
        """Learn the tree and the stats there are; on rank 0 from the KVS, elsewhere from rank 0."""
        rank = self.handle.rank
        self._tree.learn(await self.handle.call("overlay.topology", {"rank": rank}))
        if not rank:
            self._root = Root(self.handle, self._member, self._outlets.of, self._script)
            for definition in await store.load(self.handle):
                self._add(definition)
            return
        try:
            told = await self.handle.call(f"{self.name}.definitions", {}, 0)
        except RequestError:
            return  # rank 0 has no such module yet: its events come when it has
        self._learn(told)

    def _learn(self, told: Any) -> None:
        for one in told["stats"]:
            self._define(one["definition"], True, one["epoch"])

    # -- what a rank does by itself

    def _sample(self, one: Stat, then: Callable[[], object]) -> None:
        self._follow_jobs(one)
        if any(stream.name == STREAM for stream in one.streams):
            self._counters.look(then)
        else:
            then()

    def _follow_jobs(self, one: Stat) -> None:
        if not self.handle.rank and any(stream.name == JOBS for stream in one.streams):
            self._jobs.look()

    def _report(self, name: str, epoch: int, key: str, delta: float | None) -> None:
        """A key is near its level. On rank 0 after the observation, which is somebody's turn, not ours."""
        if self._root is not None:
            self.handle.call_later(0.0, self._root.reported, name, epoch, key, delta)
        else:
            told = {"name": name, "epoch": epoch, "key": key, "delta": delta}
            self.handle.request(f"{self.name}.report", told, nodeid=0)

    def _define(self, definition: Any, is_fresh: bool, epoch: int = 0) -> Stat | None:
        """Count for a stat; what this rank cannot read (a filter it has not) is logged, and names it stale."""
        try:
            found = stat.read(definition)
        except ValueError as error:
            self.log.error(str(error))
            return None
        if self._member.define(found, is_fresh, epoch):
            self._follow_jobs(found)
            if any(one.name == STREAM for one in found.streams):
                self._counters.look(lambda: None)
        return found

    def _add(self, definition: Any) -> None:
        found = self._define(definition, is_fresh=False)
        if found is not None and self._root is not None:
            self._root.add(found)

    # -- observations

    @request_handler("observe")
    def observe(self, msg: Message) -> None:
        """One observation on this rank, for who is no module: scripts, tests, other processes."""
        wish = msg.unpack(Observation)
        try:
            keys.canonical(wish.key)
        except keys.BadKey as error:
            raise RequestError(errnums.EINVAL, f"{self.name}.observe: {error}") from None
        if not values.can_be_counted(wish.value):
            text = f"a value is a text or a number up to {values.MAGNITUDE:g}, not {quoted(wish.value)}"
            raise RequestError(errnums.EINVAL, f"{self.name}.observe: {text}")
        before = self._member.refused()
        self.handle.observe(wish.stream, wish.key, wish.value)
        told: dict[str, Any] = {"is_counted": wish.stream in self._member.streams()}
        refused = [name for name, count in self._member.refused().items() if count != before[name]]
        if refused:
            # A host that a mask cannot take, say. Who asks can be told; a module that observes is not.
            told["refused"] = refused
        self.handle.respond(msg, told)

    @request_handler("observations")
    def observations(self, msg: Message) -> None:
        """What a module in a process of its own has observed on this rank; it wants to know what of it is counted."""
        observe = self.handle.observe
        wish = msg.unpack(Observations)
        for stream, key, value in wish.observed:
            observe(stream, key, value)
        if not msg.is_noresponse:
            counted = self._member.streams().intersection(stream for stream, _, _ in wish.observed)
            self.handle.respond(msg, {"counted": sorted(counted)})

    # -- heard from other ranks

    @event_handler("define")
    def defined(self, msg: Message) -> None:
        """A stat is new or gone, on all ranks."""
        told = _heard(self.log, msg, Define)
        if not self.handle.rank or told is None:
            return
        if told.remove:
            self._member.drop(told.remove)
        elif told.definition is not None:
            self._define(told.definition, is_fresh=False)

    @request_handler("collect")
    def collect(self, msg: Message) -> None:
        """The rank above wants this subtree's rows."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, f"{self.name}.collect must be a streaming request")
        if not self._member.collect(msg, msg.unpack(Order)):
            # What it means came by an event that this rank has not heard, or could not read.
            self.handle.request(f"{self.name}.definitions", {}, self._relearn, nodeid=0)

    def _relearn(self, response: Message, _arg: object) -> None:
        if not response.errnum:
            self._learn(response.payload)

    @request_handler("credit")
    def credit(self, msg: Message) -> None:
        """The rank above can take more frames."""
        wish = msg.unpack(Credit)
        self._member.credit(wish.uid, wish.n)

    @event_handler("done")
    def done(self, msg: Message) -> None:
        """A collection has ended, with these ranks in it."""
        told = _heard(self.log, msg, Done)
        if self.handle.rank and told is not None:
            self._member.done(told.name, told.uid, told.ok, told.truncated)

    @request_handler("disconnect")
    def disconnect(self, msg: Message) -> None:
        """Whoever asked is gone."""
        self._member.disconnect(msg.sender)
        self._outlets.disconnect(msg.sender)

    @event_handler("cluster_collect")
    def cluster_collect(self, msg: Message) -> None:
        """The script of 2011: the manager asks all workers."""
        if self.handle.rank and _heard(self.log, msg, ClusterCollect) is not None:
            self._script.collect(msg.payload)

    @event_handler("cluster_results")
    def cluster_results(self, msg: Message) -> None:
        """The script of 2011: a worker's next entries."""
        if not self.handle.rank and _heard(self.log, msg, ClusterResults) is not None:
            self._script.results(msg.payload)

    @request_handler("handover")
    def handover(self, msg: Message) -> None:
        """A rank below goes: what it counted is counted here."""
        told = msg.unpack(Handover)
        held = self._member.stats.get(told.name)
        if held is None or held.stat.hash != told.hash:
            raise RequestError(errnums.ENOENT, f"rank {self.handle.rank} has no such stat {told.name!r}")
        try:
            held.stat.check_rows(told.rows)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            text = f"{msg.topic}: these are no rows of {told.name}: {type(error).__name__}: {error}"
            raise RequestError(errnums.EPROTO, text) from None
        held.carry(told.rows)
        self.handle.respond(msg)

    @request_handler("report")
    def report(self, msg: Message) -> None:
        """A rank tells of a key that is near a level."""
        told = msg.unpack(Report)
        if self._root is not None:
            self._root.reported(told.name, told.epoch, told.key, told.delta)

    @event_handler("slack")
    def slack(self, msg: Message) -> None:
        """Rank 0 shares out anew what ranks may hold back of a key."""
        told = _heard(self.log, msg, Slack)
        if self.handle.rank and told is not None:
            self._member.slack(told.name, told.epoch, told.key, told.slack, told.level)

    # -- figures, the end

    def stats(self) -> dict[str, Any]:
        """Per stat: keys held, what was refused, collections, those open here; on rank 0 also failures."""
        figures = self._member.figures()
        for name, told in {} if self._root is None else self._root.figures().items():
            figures[name] |= told
        return {
            "stats": figures,
            "open": self._member.open,
            "sinks": self._outlets.figures(),
        }

    def listed_figures(self) -> dict[str, Any]:
        """What a listing of modules shows; on rank 0 of each stat's last epoch too."""
        held = self._member.stats.values()
        figures: dict[str, Any] = {"stats": len(held), "keys": sum(one.table.size for one in held)}
        if self._root is not None:
            figures["epochs"] = self._root.last_epochs()
        return {"metrics": figures}

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Per stat: observations counted here and not collected yet; on rank 0 those in rows, and if any may be lost.

        For the law `metrics-conserved`: over all ranks what was observed is in rows or held.
        """
        found: dict[str, dict[str, Any]] = {
            name: {"observed": held.table.observed, "held": held.table.held + held.kept}
            for name, held in self._member.stats.items()
        }
        for name, told in {} if self._root is None else self._root.accounts().items():
            found[name] |= told
        return found

    async def teardown(self) -> None:
        """What was counted goes to the rank above; rank 0 ends the epochs that have a period, and tells them."""
        if self._root is not None:
            await end_epochs(self.handle, self._root)
            self._outlets.close()
        else:
            await hand_over(self.handle, self.name, self.log, self._member)


def _heard(log: BrokerLogger, msg: Message, schema: type[T]) -> T | None:
    """An event's payload. Whoever owns the instance may publish any: one that is none of ours is logged."""
    try:
        return msg.unpack(schema)
    except RequestError as error:
        log.error(f"event not understood, ignored: {error.text}")
    except TypeError as error:
        log.error(f"event not understood, ignored: {error}")
    return None
