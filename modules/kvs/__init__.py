"""Knows the requests and events of the kvs service; what they mean is in the files beside this one."""

from __future__ import annotations

from functools import partial
from typing import Any

from brokersim.brokermod import (
    NODEID_UPSTREAM,
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    pass_on,
    request_handler,
)

from .access import ROLE_OWNER, permit, permit_ops
from .committer import Committer
from .endings import Endings
from .messages import (
    PRIMARY,
    CommitRequest,
    CreateRequest,
    LookupRequest,
    NamespaceRequest,
    RemoveRequest,
    Root,
    VersionRequest,
)
from .namespaces import NO_MERGE, Namespace, Transaction, new_transaction
from .objects import ObjectCache
from .opcounts import OpCounts
from .options import options
from .reading import Reading
from .roots import Roots
from .runner import Runner
from .watchers import CommitWatchers

#: An owner that means the instance's own, as a number and as it is stored in 32 bits.
_NO_OWNER = (-1, 0xFFFFFFFF)


class Kvs(BrokerModule):
    """Flux's key-value store: rank 0 commits, the other ranks follow its roots and read through their cache."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._options = options(h.name, args)
        self._opcounts = OpCounts()
        self._rank = h.rank
        self._transactions = 0
        self._endings = Endings(h)
        self._cache = ObjectCache()
        self._roots = Roots(h)
        self._namespaces = self._roots.namespaces
        self._runner = Runner(h, self._cache, self._namespaces, self._roots.follow)
        self._reading = Reading(h, self._cache, self._roots, self._runner)
        if h.rank == 0:
            self._committer = Committer(h, self._cache, self._runner, self._roots, self._free)
            self._watchers = CommitWatchers(h, self._committer.start)

    async def ready(self) -> None:
        """Rank 0 has its root before it is RUNNING; the others ask for theirs and serve when they have it."""
        if self.handle.rank == 0:
            await self._roots.restart(self._options.initial_rootref)
        else:
            # Only what is used here is followed: on a thousand ranks every commit of a job would be an event.
            self.handle.event_unsubscribe(f"{self.name}.namespace-")
            self._roots.follow(PRIMARY)

    # -- lookups

    @request_handler("lookup", allow_guest=True)
    def lookup(self, msg: Message) -> None:
        self._reading.look(msg, msg.unpack(LookupRequest))

    # -- commits

    @request_handler("commit", allow_guest=True)
    def commit(self, msg: Message) -> None:
        request = msg.unpack(CommitRequest)
        if not msg.rolemask & ROLE_OWNER:
            permit_ops(request.ops)
            self._roots.within(request.namespace, msg, self._commit_as_guest, request)
        else:
            self._commit(msg, request)

    def _commit_as_guest(self, namespace: Namespace, msg: Message, request: CommitRequest) -> None:
        permit(namespace, msg)
        self._commit(msg, request)

    def _commit(self, msg: Message, request: CommitRequest) -> None:
        if self._rank:
            self.handle.request(msg.topic, msg.payload, self._committed_upstream, msg, NODEID_UPSTREAM)
            return
        self._transactions += 1
        name = f"transaction_req.{self._rank}.{self._transactions}"
        flags = request.flags if self._options.merge else request.flags | NO_MERGE
        waiting = new_transaction(name, request.ops, flags, msg)
        self._opcounts.add(len(request.ops))
        self._roots.within(request.namespace, msg, self._queue, waiting)

    def _queue(self, namespace: Namespace, _msg: Message, waiting: Transaction) -> None:
        namespace.push(waiting)
        self._free(namespace)

    def _free(self, namespace: Namespace) -> None:
        """No commit of the namespace is on its way: the next one may start, if there is one."""
        if self._endings:
            self._endings.ended(namespace)
        if namespace.queue and not namespace.busy:
            self._watchers.ready(namespace)

    def _committed_upstream(self, response: Message, msg: Message) -> None:
        """The answer says where the root is, so what was committed here can be read here at once."""
        if not response.errnum:
            root = response.unpack(Root)
            root.namespace = msg.payload.get("namespace", PRIMARY)
            self._roots.move_to(root)
        pass_on(self.handle, response, msg)

    # -- roots and namespaces

    @request_handler("getroot", allow_guest=True)
    def getroot(self, msg: Message) -> None:
        request = msg.unpack(NamespaceRequest)
        self._roots.within(request.namespace, msg, self._roots.answer, request)

    @request_handler("wait-version", allow_guest=True)
    def wait_version(self, msg: Message) -> None:
        request = msg.unpack(VersionRequest)
        self._roots.within(request.namespace, msg, self._roots.await_version, request)

    @request_handler("setroot-pause", allow_guest=True)
    def setroot_pause(self, msg: Message) -> None:
        """For tests of what a rank does that hears late of new roots."""
        self._roots.within(msg.unpack(RemoveRequest).namespace, msg, self._roots.pause, True)

    @request_handler("setroot-unpause", allow_guest=True)
    def setroot_unpause(self, msg: Message) -> None:
        self._roots.within(msg.unpack(RemoveRequest).namespace, msg, self._roots.pause, False)

    @request_handler("namespace-list")
    def namespace_list(self, msg: Message) -> None:
        if self.handle.rank:
            self._forward(msg)
            return
        known = [{"namespace": one.name, "owner": one.owner, "flags": one.flags} for one in self._namespaces]
        self.handle.respond(msg, {"namespaces": known})

    @request_handler("namespace-create")
    def namespace_create(self, msg: Message) -> None:
        request = msg.unpack(CreateRequest)
        request.check()
        name = request.namespace
        if self.handle.rank:
            self._forward(msg)
            return
        if self._namespaces.get(name) is not None or name == PRIMARY:
            raise RequestError(errnums.EEXIST, f"namespace {name!r} exists already")
        owner = self._roots.owner if request.owner in _NO_OWNER else request.owner
        namespace = Namespace(name=name, owner=owner, flags=request.flags, rootref=request.rootref, rootseq=0)
        self._namespaces.add(namespace)
        self.handle.publish(f"{self.name}.namespace-{name}-created", namespace.root(), private=True)
        self.handle.respond(msg)

    @request_handler("namespace-remove")
    def namespace_remove(self, msg: Message) -> None:
        name = msg.unpack(RemoveRequest).namespace
        if self.handle.rank:
            self._forward(msg)
            return
        if name == PRIMARY:
            raise RequestError(errnums.ENOTSUP, f"namespace {PRIMARY!r} cannot be removed")
        removed = self._namespaces.get(name)
        if removed is not None:  # else what is wanted is so already
            self._roots.remove(name)
            self.handle.publish(f"{self.name}.namespace-{name}-removed", removed.root(), private=True)
        self.handle.respond(msg)

    def _forward(self, msg: Message) -> None:
        self.handle.request(msg.topic, msg.data, partial(pass_on, self.handle), msg, NODEID_UPSTREAM)

    @event_handler("namespace-*")
    def namespace_event(self, msg: Message) -> None:
        """On rank 0 these are its own, and no news; elsewhere they move the roots that are followed here."""
        if not self._rank or not msg.rolemask & ROLE_OWNER:
            return
        try:
            self._roots.heed(msg)
        except (RequestError, TypeError) as error:
            self.log.error(f"event {msg.topic} ignored: {error}")

    # -- the module

    @request_handler("dropcache")
    def dropcache(self, msg: Message) -> None:
        """Forget the cached objects: what is used again comes from content again."""
        self._cache.clear()
        self.handle.respond(msg)

    @request_handler("store-anew")
    def store_anew(self, msg: Message) -> None:
        """Somebody collects garbage in the content store: commits from now on store what they lead to, known or not.

        Answered when no earlier commit is under way: its root can be asked for then.
        """
        self._cache.forget_stored()
        self._endings.wait(msg, {one.name for one in self._namespaces if one.busy})

    @request_handler("disconnect")
    def disconnect(self, msg: Message) -> None:
        self._roots.forget(msg.sender)

    @event_handler("heartbeat.pulse", prefix=False)
    def heartbeat(self, msg: Message) -> None:
        self._cache.expire()

    def stats(self) -> dict[str, Any]:
        """Flux's figures under Flux's names."""
        return {
            "cache": self._cache.statistics() | {"#faults": self._runner.faults},
            "namespace": {one.name: one.statistics() for one in self._namespaces},
            "transaction-opcount": {"commit": self._opcounts.statistics()},
            "pending_requests": self._runner.running + self._namespaces.waiting,
        }

    @request_handler("stats-clear")
    def stats_clear(self, msg: Message) -> None:
        self._opcounts = OpCounts()
        self.handle.clear_counts()
        self.handle.respond(msg)

    async def teardown(self) -> None:
        """Leaves a checkpoint of the primary namespace, so that the next start has its data."""
        if self.handle.rank == 0:
            await self._roots.leave_checkpoint()
        self._roots.dismiss_all()
