"""Knows the namespaces that are watched here: their roots, and which commit concerns which watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import Handle, Message, OpenStreams, errnums

from .messages import FULL, Root, plain_keys
from .watch import Watch

EVENTS: Final = "kvs.namespace-"
_ROLE_OWNER: Final = 1


class Monitor:
    """One namespace while somebody watches in it: follows its events from the root that kvs tells at the start."""

    __slots__ = ("_absent", "_by_key", "_full", "_handle", "name", "root", "watches")

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self.name = name
        self.root: Root | None = None
        #: What kvs said when it was asked for the root and there was none.
        self._absent: Message | None = None
        self.watches: dict[Watch, None] = {}
        #: The same by key, and how many want every commit: of hundreds that watch, a commit concerns one or two.
        self._by_key: dict[str, dict[Watch, None]] = {}
        self._full = 0
        # The subscription comes first, so that no commit falls between it and the root.
        handle.event_subscribe(f"{EVENTS}{name}-")
        self._ask()

    def _ask(self) -> None:
        self._handle.request("kvs.getroot", {"namespace": self.name, "flags": 0}, self._got_root)

    def add(self, watch: Watch) -> None:
        """One more watches; if the root is known it looks at once."""
        self.watches[watch] = None
        self._by_key.setdefault(watch.key, {})[watch] = None
        self._full += watch.flags & FULL
        if self.root is not None:
            self._look(watch, self.root)
        elif self._absent is not None and len(self.watches) == 1:
            self._absent = None  # the first since it was not there: it may be now
            self._ask()
        elif self._absent is not None:
            self._refuse(watch, self._absent)

    def _got_root(self, response: Message, _arg: Any) -> None:
        if self.root is not None:
            return  # an event was faster
        if not response.errnum:
            self.moved(response.unpack(Root))
            return
        self._absent = response
        for watch in tuple(self.watches):
            self._refuse(watch, response)

    def _refuse(self, watch: Watch, response: Message) -> None:
        if response.errnum != errnums.ENOTSUP or not watch.waits_for_creation:
            watch.finish(response.errnum, response.payload_str or "")

    def moved(self, root: Root) -> None:
        """The namespace has a newer root; whom it concerns looks again."""
        if self.root is not None and root.rootseq <= self.root.rootseq and self.watches:
            return
        is_first, self.root = self.root is None, root
        if self.watches:
            for watch in self._concerned(root, is_first):
                self._look(watch, root)

    def _concerned(self, root: Root, is_first: bool) -> list[Watch]:
        """Those that have to look again, in the order they came; at the first root all, since none has looked."""
        changed = plain_keys(root.keys)
        if is_first or self._full:
            return [one for one in self.watches if is_first or one.flags & FULL or one.key in changed]
        keys = changed.keys() & self._by_key.keys()
        if len(keys) < 2:
            return [one for key in keys for one in self._by_key[key]]
        return [one for one in self.watches if one.key in keys]

    def drop(self, watch: Watch) -> None:
        """One has ended."""
        if watch in self.watches:
            del self.watches[watch]
            self._full -= watch.flags & FULL
            same = self._by_key[watch.key]
            del same[watch]
            if not same:
                del self._by_key[watch.key]

    def _look(self, watch: Watch, root: Root) -> None:
        msg = watch.msg
        if msg.rolemask & _ROLE_OWNER or msg.userid == root.owner:
            watch.look(self.name, root)
        else:
            watch.finish(errnums.EPERM, f"namespace {self.name!r} belongs to another user")

    def removed(self) -> None:
        """The namespace is no more."""
        for watch in tuple(self.watches):
            watch.finish(errnums.ENOTSUP, f"namespace {self.name!r} was removed")

    def close(self) -> None:
        """Nobody watches here any more."""
        self._handle.event_unsubscribe(f"{EVENTS}{self.name}-")


class Monitors:
    """All watched namespaces of this rank."""

    __slots__ = ("_by_name", "_handle", "_kept", "_watches")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        #: The namespaces that are followed whether somebody watches there or not.
        self._kept: set[str] = set()
        self._by_name: dict[str, Monitor] = {}
        #: Those of all namespaces: job-info alone has one for each log it follows, and cancels them one by one.
        self._watches = OpenStreams[Watch]()

    def keep(self, namespace: str) -> None:
        """Follow a namespace from now on: who watches there need not ask for its root first."""
        self._kept.add(namespace)
        if namespace not in self._by_name:
            self._by_name[namespace] = Monitor(self._handle, namespace)

    def watch(self, namespace: str, make: Callable[[Callable[[Watch], None]], Watch]) -> None:
        """Begin a watch in a namespace; ``make(ended)`` makes it."""
        monitor = self._by_name.get(namespace)
        watch = make(lambda ended: self._ended(namespace, ended))
        if monitor is None:
            monitor = self._by_name[namespace] = Monitor(self._handle, namespace)
        self._watches.add(watch)
        monitor.add(watch)

    def _ended(self, namespace: str, watch: Watch) -> None:
        self._watches.remove(watch)
        monitor = self._by_name.get(namespace)
        if monitor is None:
            return
        monitor.drop(watch)
        if not monitor.watches and namespace not in self._kept:
            del self._by_name[namespace]
            monitor.close()

    def heed(self, event: Message) -> None:
        """An event of kvs: a namespace moved, came or went. Raises RequestError(EPROTO), TypeError if it is none."""
        what = event.topic.rpartition("-")[2]
        if what not in ("setroot", "created", "removed"):
            return
        root = event.unpack(Root)
        monitor = self._by_name.get(root.namespace)
        if monitor is None:
            return
        if what == "removed":
            monitor.removed()
        else:
            monitor.moved(root)

    def cancel(self, sender: str, matchtag: int) -> None:
        """End one watch of a client as it asked; an unknown one has just ended by itself."""
        for watch in self._watches.find(sender, matchtag):
            watch.finish(errnums.ENODATA)

    def leave(self, sender: str) -> None:
        """A client went: nothing more is sent to it."""
        for watch in self._watches.of(sender):
            watch.drop()

    def statistics(self) -> dict[str, Any]:
        """Flux's figures under Flux's names."""
        namespaces = {
            name: {
                "owner": monitor.root.owner if monitor.root else 0xFFFFFFFF,
                "rootseq": monitor.root.rootseq if monitor.root else -1,
                "watchers": len(monitor.watches),
            }
            for name, monitor in self._by_name.items()
            if monitor.watches
        }
        watchers = sum(len(monitor.watches) for monitor in self._by_name.values())
        return {"watchers": watchers, "namespace-count": len(namespaces), "namespaces": namespaces}
