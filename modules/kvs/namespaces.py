"""Knows the namespaces of a rank: their roots, who waits for a version, which transactions wait for a commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Message, RequestError, errnums

from .messages import Root
from .transaction import TXN_COMPACT, Op, checked, compacted

NO_MERGE: Final = 1
SYNC: Final = 4
_FLAGS: Final = NO_MERGE | TXN_COMPACT | SYNC


class Transaction(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One commit request in wait: its operations, and the request to answer."""

    name: str
    ops: Sequence[Op]
    flags: int
    request: Message


def new_transaction(name: str, ops: Sequence[Op], flags: int, request: Message) -> Transaction:
    """A transaction of checked operations. Raises RequestError(EINVAL, EPROTO) for what is wrong with them."""
    if flags & ~_FLAGS:
        raise RequestError(
            errnums.EINVAL, f"commit flags {flags:#x}; known are 1 (no merge), 2 (compact), 4 (sync)"
        )
    checked(ops)
    return Transaction(
        name=name, ops=compacted(ops) if flags & TXN_COMPACT else ops, flags=flags, request=request
    )


def next_batch(queue: deque[Transaction]) -> list[Transaction]:
    """Takes what becomes the next commit: the first transaction and all behind it that may be merged with it.

    Merging stops at a transaction with NO_MERGE, and where SYNC changes: a synced commit waits for the disk,
    which is no business of those that did not ask for it.
    """
    first = queue.popleft()
    batch = [first]
    if not first.flags & NO_MERGE:
        while queue and not queue[0].flags & NO_MERGE and not (queue[0].flags ^ first.flags) & SYNC:
            batch.append(queue.popleft())
    return batch


class Namespace:
    """One namespace as this rank sees it."""

    __slots__ = (
        "busy",
        "flags",
        "held",
        "is_removed",
        "name",
        "noop_stores",
        "owner",
        "queue",
        "rootref",
        "rootseq",
        "waiting",
    )

    def __init__(self, *, name: str, owner: int, flags: int, rootref: str, rootseq: int) -> None:
        self.name = name
        self.owner = owner
        self.flags = flags
        self.rootref = rootref
        self.rootseq = rootseq
        #: Rank 0 only: transactions in wait, and whether a commit is on its way.
        self.queue: deque[Transaction] | None = None
        self.busy = False
        self.is_removed = False
        #: News of its root while nobody heeds them (setroot-pause); ``None``: they are heeded.
        self.held: list[Root] | None = None
        #: Commits that had nothing to store.
        self.noop_stores = 0
        #: Requests that wait until rootseq is reached.
        self.waiting: list[tuple[int, Message]] = []

    def advance(self, rootref: str, rootseq: int) -> list[Message]:
        """Move to a newer root; the requests whose version is reached. An older root changes nothing."""
        if rootseq <= self.rootseq:
            return []
        self.rootref = rootref
        self.rootseq = rootseq
        if not self.waiting:
            return []
        reached = [message for version, message in self.waiting if version <= rootseq]
        self.waiting = [(version, message) for version, message in self.waiting if version > rootseq]
        return reached

    def push(self, waiting: Transaction) -> None:
        """One more transaction waits for a commit."""
        if self.queue is None:
            self.queue = deque()
        self.queue.append(waiting)

    def put_back(self, failed: Sequence[Transaction]) -> None:
        """Transactions whose merged commit failed wait again, first in line, each for a commit of its own."""
        assert self.queue is not None
        alone = [msgspec.structs.replace(part, flags=part.flags | NO_MERGE) for part in failed]
        self.queue.extendleft(reversed(alone))

    @property
    def ready(self) -> bool:
        """A commit can start: something waits, and none is on its way."""
        return bool(self.queue) and not self.busy

    def dismiss(self) -> list[Message]:
        """Empties the namespace at its removal; the requests nobody will serve any more."""
        requests = [message for _version, message in self.waiting]
        requests += [waiting.request for waiting in self.queue or ()]
        self.waiting = []
        self.queue = None
        self.is_removed = True
        return requests

    def forget(self, sender: str) -> None:
        """A client is gone: its waiting for a version ends. Its commits stay, as in Flux."""
        if self.waiting:
            self.waiting = [
                (version, message) for version, message in self.waiting if message.sender != sender
            ]

    def root(self) -> dict[str, Any]:
        """The answer of kvs.getroot."""
        return {
            "owner": self.owner,
            "rootseq": self.rootseq,
            "rootref": self.rootref,
            "flags": self.flags,
            "namespace": self.name,
        }

    def statistics(self) -> dict[str, int]:
        """Flux's figures of one namespace, in ``module stats kvs``."""
        return {
            "#versionwaiters": len(self.waiting),
            "#no-op stores": self.noop_stores,
            "#transactions": len(self.queue or ()) + self.busy,
            "#readytransactions": len(self.queue or ()),
            "store revision": self.rootseq,
        }


Then = Callable[[Namespace], None]
Failed = Callable[[RequestError], None]


class Namespaces:
    """The namespaces by name, and who waits until one of them is known here."""

    __slots__ = ("_awaited", "_foreseen", "_known")

    def __init__(self) -> None:
        self._known: dict[str, Namespace] = {}
        self._awaited: dict[str, list[tuple[Then, Failed]]] = {}
        self._foreseen: dict[str, Root] = {}

    def get(self, name: str) -> Namespace | None:
        """The namespace, if it is known here."""
        return self._known.get(name)

    def __iter__(self) -> Any:
        return iter(self._known.values())

    def expect(self, name: str) -> None:
        """The namespace has been asked for: from now on who wants it waits."""
        self._awaited.setdefault(name, [])

    def is_expected(self, name: str) -> bool:
        """Somebody has asked for it already."""
        return name in self._awaited

    def wait(self, name: str, then: Then, failed: Failed) -> None:
        """Have ``then`` or ``failed`` called once the expected namespace is known, or known not to be."""
        self._awaited[name].append((then, failed))

    def foresee(self, name: str, root: Root) -> bool:
        """News of an expected namespace, which may overtake the answer; False if it is not expected."""
        if name not in self._awaited:
            return False
        self._foreseen[name] = root
        return True

    def foreseen(self, name: str) -> Root | None:
        """The last news that came before the answer."""
        return self._foreseen.pop(name, None)

    def add(self, namespace: Namespace) -> None:
        """The namespace is known; everybody who waited goes on, in order."""
        self._known[namespace.name] = namespace
        for then, _failed in self._awaited.pop(namespace.name, ()):
            then(namespace)

    def refuse(self, name: str, error: RequestError) -> None:
        """The namespace cannot be known; everybody who waited is told."""
        self._foreseen.pop(name, None)
        for _then, failed in self._awaited.pop(name, ()):
            failed(error)

    def remove(self, name: str) -> Namespace | None:
        """Drop a namespace; what it was, if it was known."""
        return self._known.pop(name, None)

    @property
    def waiting(self) -> int:
        """How many wait for a namespace to be known."""
        return sum(map(len, self._awaited.values()))


def unknown_namespace(name: str) -> RequestError:
    """The error of a namespace that does not exist: ENOTSUP, as in Flux."""
    return RequestError(errnums.ENOTSUP, f"namespace {name!r} does not exist")
