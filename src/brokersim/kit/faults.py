"""Knows faults: what they do to messages, ranks, modules, the disk and statsd packets, and what each really hit.

It doesn't know when they should happen: a fault is on from when it is made until ``stop``.
"""

from __future__ import annotations

import copy
import random
import sqlite3
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from brokersim.kit.conversations import wants_answer
from brokersim.kit.ledger import Ledger, Line
from brokersim.kit.restarts import crash, ranks_below, restart
from brokersim.protocol.errnums import EIO, ENOSPC, RequestError
from brokersim.protocol.message import EVENT, REQUEST, RESPONSE, TYPE_NAMES, Message
from brokersim.reactor.loop import NS
from brokersim.routing.cut import cut_off, link_above

if TYPE_CHECKING:
    from brokersim.instance import Instance

_TYPES = {name: number for number, name in TYPE_NAMES.items()}
#: Seconds a message held back by ``reorder`` waits for another to pass it.
_HELD = 0.001


@attrs.frozen
class Hit:
    """One thing a fault hit: when (s), what it was, where it was going."""

    time: float
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.time:.6f} s  {self.what} → {self.where}"


@attrs.define(eq=False, kw_only=True)
class Fault:
    """One fault. It acts on the messages that match, at most ``count`` of them, each with probability ``p``.

    ``topic`` is a glob; ``type`` request, response or event; ``to`` the module or client a message is handed
    to; ``rank`` that one's rank. All that it hit is in ``hits``.
    """

    kind: str
    topic: str = "*"
    type: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.in_(_TYPES))
    )
    to: str | None = None
    rank: int | None = None
    count: int | None = None
    p: float = attrs.field(default=1.0, validator=[attrs.validators.gt(0), attrs.validators.le(1)])
    seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    errnum: int = ENOSPC
    hits: list[Hit] = attrs.field(factory=list, init=False)
    is_on: bool = attrs.field(default=True, init=False)
    undo: Callable[[], object] | None = attrs.field(default=None, init=False)

    def stop(self) -> None:
        """It hits nothing any more; a rank that crashed or was cut off is started anew, and all below."""
        if self.is_on:
            self.is_on = False
            if self.undo is not None:
                self.undo()

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def matches(self, message: Message, chance: random.Random) -> bool:
        """Is it for this message, and its turn?"""
        if not self.is_on or (self.count is not None and len(self.hits) >= self.count):
            return False
        dst = message.dst
        return (
            fnmatchcase(message.topic, self.topic)
            and (self.type is None or message.type == _TYPES[self.type])
            and (self.to is None or dst.name == self.to)
            and (self.rank is None or dst.broker.rank == self.rank)
            and (self.p == 1.0 or chance.random() < self.p)
        )

    def hit(self, now: int, message: Message) -> None:
        where = "nobody" if message.dst is None else f"{message.dst.name}.{message.dst.broker.rank}"
        self.hits.append(Hit(now / NS, f"{message.type_str} {message.topic}", where))

    def report(self) -> str:
        """What it hit, by what it was."""
        if not self.hits:
            return f"fault {self}: hit nothing"
        kinds: dict[str, int] = {}
        for hit in self.hits:
            text = f"{hit.what} → {hit.where}"
            kinds[text] = kinds.get(text, 0) + 1
        return f"fault {self}: {len(self.hits)} hit: " + ", ".join(
            f"{n} × {text}" for text, n in kinds.items()
        )

    def __str__(self) -> str:
        wanted = [f"topic={self.topic}"] if self.topic != "*" else []
        wanted += [
            f"{name}={value}" for name in ("type", "to", "rank") if (value := getattr(self, name)) is not None
        ]
        return " ".join([self.kind, *wanted])


class Faults:
    """The faults of one instance. Messages are hit where they are queued for whom they go to.

    What a fault hit is excused from the laws: a request that was dropped need not be answered.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.instance: Instance = ledger.instance
        self.all: list[Fault] = []
        self._random = random.Random(self.instance.seed)
        self._held: list[Message] = []

    def add(self, kind: str, **wanted: Any) -> Fault:
        """Begin a fault. Raises ValueError for one that cannot be, naming those that can."""
        begin = _KINDS.get(kind)
        if begin is None:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(_KINDS)}")
        try:
            fault = Fault(kind=kind, **wanted)
        except TypeError as error:
            raise ValueError(f"fault {kind}: {error}") from None
        begin(self, fault)
        self.all.append(fault)
        return fault

    def idle(self) -> list[Fault]:
        """Those that hit nothing."""
        return [fault for fault in self.all if not fault.hits]

    def stop(self) -> None:
        """End all of them."""
        for fault in self.all:
            fault.stop()

    def release(self) -> None:
        """Let go what is held back."""
        for message in list(self._held):
            self._let_go(message)

    @property
    def holding(self) -> int:
        """Messages held back now."""
        return len(self._held)

    # -- messages

    def _on_queue(self, fault: Fault) -> None:
        self.instance.reactor.put_gate(self._may_pass)

    def _fail_requests(self, fault: Fault) -> None:
        if fault.type not in (None, "request"):
            raise ValueError(f"fault fail: a request can fail, no {fault.type}")
        fault.type = "request"
        self._on_queue(fault)

    def _may_pass(self, message: Message) -> bool:
        """The reactor's gate: a message that no fault hits passes, and sets free what was held until it had."""
        if self._act(message):
            return False
        overtaken = [held for held in self._held if held.dst is message.dst]
        if not overtaken:
            return True
        self.instance.reactor.admit(message)
        for held in overtaken:
            self.excuse(message)  # it has overtaken
            self._let_go(held)
        return False

    def _let_go(self, message: Message) -> None:
        """A message held back has waited long enough."""
        if message in self._held:
            self._held.remove(message)
            self.instance.reactor.admit(message)

    def _act(self, message: Message) -> str:
        """What happens to a message about to be queued: "" (nothing) or the kind of the fault that hits it."""
        for fault in self.all:
            if fault.kind == "fail" and not wants_answer(message):
                continue  # nobody would hear that it failed; what it asks for is done
            if fault.kind in _MESSAGE_KINDS and fault.matches(message, self._random):
                fault.hit(self.instance.reactor.now, message)
                self.excuse(message)
                _MESSAGE_KINDS[fault.kind](self, fault, message)
                return fault.kind
        return ""

    def excuse(self, message: Message) -> None:
        """What a fault did to this message is no law's business."""
        if message.type == REQUEST and wants_answer(message):
            self.ledger.conversations.excuse((message.src.uuid, message.matchtag))
        elif message.type == RESPONSE:
            self.ledger.conversations.excuse((message.dst.uuid, message.matchtag))
        elif message.type == EVENT:
            self.ledger.deliveries.excuse(message.dst, message.seq)

    def _dropped(self, fault: Fault, message: Message) -> None:
        """It is gone."""

    def _delayed(self, fault: Fault, message: Message) -> None:
        reactor = self.instance.reactor
        reactor.call_at(reactor.now + round(fault.seconds * NS), reactor.admit, message)

    def _doubled(self, fault: Fault, message: Message) -> None:
        again = copy.copy(message)
        self.instance.reactor.admit(message)
        self.instance.reactor.admit(again)

    def _reordered(self, fault: Fault, message: Message) -> None:
        reactor = self.instance.reactor
        self._held.append(message)
        reactor.call_at(reactor.now + round(_HELD * NS), self._let_go, message)

    def _failed(self, fault: Fault, message: Message) -> None:
        endpoint = message.dst
        text = f"{message.topic} fails on purpose"
        endpoint.handed(message)
        endpoint.respond_error(message, fault.errnum, text)

    def _killed(self, fault: Fault, message: Message) -> None:
        self.instance.reactor.admit(message)
        self._crash(message.dst.module)

    def _crash(self, module: Any) -> None:
        module.crashed(RuntimeError("killed on purpose"), None)

    # -- ranks, modules, packets

    def _disconnect(self, fault: Fault) -> None:
        if fault.rank is None or not 0 < fault.rank < self.instance.size:
            raise ValueError(f"fault disconnect: give rank=1 to {self.instance.size - 1}, not {fault.rank}")
        above, _ = link_above(self.instance, fault.rank)
        self.ledger.deliveries.cut_off(ranks_below(self.instance, fault.rank))
        fault.hits.append(Hit(self.instance.reactor.now / NS, "link", f"{above.peer.rank}-{fault.rank}"))
        fault.undo = partial(restart, self.ledger, fault.rank)
        cut_off(self.instance, fault.rank, partial(self._cut, fault))

    def _crash_rank(self, fault: Fault) -> None:
        if fault.rank is None or not 0 < fault.rank < self.instance.size:
            raise ValueError(f"fault crash: give rank=1 to {self.instance.size - 1}, not {fault.rank}")
        fault.hits.append(Hit(self.instance.reactor.now / NS, "rank", str(fault.rank)))
        fault.undo = partial(restart, self.ledger, fault.rank)
        crash(self.ledger, fault.rank, partial(self._cut, fault))

    def _cut(self, fault: Fault, request: Message) -> None:
        self.ledger.conversations.excuse((request.src.uuid, request.matchtag))
        fault.hit(self.instance.reactor.now, request)

    def _kill(self, fault: Fault) -> None:
        if not fault.to:
            raise ValueError("fault kill: give to=MODULE, and topic=GLOB to wait for a message to it")
        if fault.topic != "*":
            self._on_queue(fault)
            fault.count = 1 if fault.count is None else fault.count
            return
        try:
            module = self.instance.module(fault.rank or 0, fault.to)
        except RequestError as error:
            raise ValueError(f"fault kill: {error.text}") from None
        fault.hits.append(Hit(self.instance.reactor.now / NS, "module", f"{fault.to}.{fault.rank or 0}"))
        self._crash(module)

    def _fill_disk(self, fault: Fault) -> None:
        """No database of a module may grow: SQLite then answers every write that needs a page with FULL."""
        self._ondatabases(fault, _stop_growing, ENOSPC)

    def _fail_disk(self, fault: Fault) -> None:
        """No database of a module can be written: each write is answered with EIO."""
        self._ondatabases(fault, _stop_writing, EIO)

    def _ondatabases(
        self, fault: Fault, stop: Callable[[sqlite3.Connection | _Database], Callable[[], None]], errnum: int
    ) -> None:
        undo = [
            stop(database)
            for module in self.instance.modules(fault.rank or 0)
            if fault.to in (None, module.name)
            for database in databases(module.handle.body)
        ]
        if not undo:
            raise ValueError(
                f"fault {fault.kind}: no module {fault.to or ''} on rank {fault.rank or 0} keeps a database"
            )
        fault.undo = partial(_call_all, undo)
        self.ledger.on_error[errnum] = partial(self._refused, fault)

    def _refused(self, fault: Fault, line: Line) -> None:
        if fault.is_on:
            fault.hits.append(Hit(line.time, f"write for {line.topic}", f"{line.name}.{line.rank}"))

    def _lose_packets(self, fault: Fault) -> None:
        sink = self.instance.sink
        send = sink.send
        lossy = partial(self._lose, fault, send)
        sink.send = lossy  # type: ignore[method-assign]
        fault.undo = lambda: setattr(sink, "send", send)

    def _lose(self, fault: Fault, send: Callable[[bytes], bool], packet: bytes) -> bool:
        limit = fault.count is not None and len(fault.hits) >= fault.count
        first = packet.partition(b":")[0].decode(errors="replace")
        wanted = fnmatchcase(first, fault.topic if fault.topic == "*" else f"{fault.topic}*")
        if limit or not wanted or (fault.p < 1.0 and self._random.random() >= fault.p):
            return send(packet)
        fault.hits.append(Hit(self.instance.reactor.now / NS, f"packet {first}", "statsd"))
        self.ledger.unseen[first.removeprefix("flux.").rsplit(".", 2)[0]] = None
        return True


#: What an SQLite statement may do that a disk which fails does not let it do.
_CHANGES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


@runtime_checkable
class _Database(Protocol):
    """What a module has in the place of an SQLite database, and can be told to grow no more."""

    def stop_growing(self) -> Callable[[], None]:
        """Refuse from now on with ENOSPC what takes more room; what ends that."""


def databases(body: object) -> list[sqlite3.Connection | _Database]:
    """The open databases of a module's object, its own or those of the objects it is made of."""
    parts = list(getattr(body, "__dict__", {}).values())
    parts += [inner for part in parts for inner in getattr(part, "__dict__", {}).values()]
    return [part for part in parts if isinstance(part, sqlite3.Connection | _Database) and _is_open(part)]


def _is_open(database: sqlite3.Connection | _Database) -> bool:
    """Its module may be about to end."""
    try:
        return isinstance(database, _Database) or database.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


def _stop_growing(database: sqlite3.Connection | _Database) -> Callable[[], None]:
    """Let a database have no page more than it has; what gives it back the limit it had."""
    if isinstance(database, _Database):
        return database.stop_growing()
    (before,) = database.execute("PRAGMA max_page_count").fetchone()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    _set_pages(database, pages)
    return partial(_set_pages, database, before)


def _stop_writing(database: sqlite3.Connection | _Database) -> Callable[[], None]:
    """Let a database be read only: what changes it is denied, which is no full disk. What ends that."""
    if isinstance(database, _Database):
        raise ValueError(
            "fault fail-disk: what is kept in memory has no disk that fails; give a state directory"
        )
    database.set_authorizer(_only_reads)
    return partial(_allow_all, database)


def _only_reads(action: int, *_what: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _CHANGES else sqlite3.SQLITE_OK


def _allow_all(database: sqlite3.Connection) -> None:
    try:
        database.set_authorizer(None)
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):  # its module may have ended meanwhile
            raise


def _call_all(actions: list[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _set_pages(database: sqlite3.Connection, limit: int) -> None:
    try:
        database.execute(f"PRAGMA max_page_count={int(limit)}")
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):  # its module may have ended meanwhile
            raise


_Act = Callable[[Faults, Fault, Message], None]
#: Faults of messages, and what each does to one it hits.
_MESSAGE_KINDS: dict[str, _Act] = {
    "drop": Faults._dropped,
    "delay": Faults._delayed,
    "duplicate": Faults._doubled,
    "reorder": Faults._reordered,
    "fail": Faults._failed,
    "kill": Faults._killed,
}
_KINDS: dict[str, Callable[[Faults, Fault], None]] = {
    "drop": Faults._on_queue,
    "delay": Faults._on_queue,
    "duplicate": Faults._on_queue,
    "reorder": Faults._on_queue,
    "fail": Faults._fail_requests,
    "disconnect": Faults._disconnect,
    "crash": Faults._crash_rank,
    "kill": Faults._kill,
    "fill-disk": Faults._fill_disk,
    "fail-disk": Faults._fail_disk,
    "lose-packets": Faults._lose_packets,
}
