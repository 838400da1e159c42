"""Knows faults: how they begin and end, and what they do to ranks, modules, the disk and statsd packets.

It doesn't know when they should happen: a fault is on from when it is made until ``stop``.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from brokersim.kit.databases import Database, databases, stop_growing, stop_writing
from brokersim.kit.fault import Fault, Hit
from brokersim.kit.fault_gate import FaultGate, crash
from brokersim.kit.ledger import Ledger, Line
from brokersim.kit.restarts import crash as crash_rank
from brokersim.kit.restarts import ranks_below, restart
from brokersim.protocol.errnums import EIO, ENOSPC, RequestError
from brokersim.protocol.message import Message
from brokersim.reactor.loop import NS
from brokersim.routing.cut import cut_off, link_above

if TYPE_CHECKING:
    from brokersim.instance import Instance


class Faults:
    """The faults of one instance: how each kind begins and is undone. Those of messages are a gate's business."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.instance: Instance = ledger.instance
        self.all: list[Fault] = []
        self._random = random.Random(self.instance.seed)
        self._gate = FaultGate(ledger, self.all, self._random)

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
        self._gate.release()

    @property
    def holding(self) -> int:
        """Messages held back now."""
        return self._gate.holding

    # -- messages

    def _on_queue(self, fault: Fault) -> None:
        self._gate.open()

    def _fail_requests(self, fault: Fault) -> None:
        if fault.type not in (None, "request"):
            raise ValueError(f"fault fail: a request can fail, no {fault.type}")
        fault.type = "request"
        self._on_queue(fault)

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
        crash_rank(self.ledger, fault.rank, partial(self._cut, fault))

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
        crash(module)

    def _fill_disk(self, fault: Fault) -> None:
        """No database of a module may grow: SQLite then answers every write that needs a page with FULL."""
        self._on_databases(fault, stop_growing, ENOSPC)

    def _fail_disk(self, fault: Fault) -> None:
        """No database of a module can be written: each write is answered with EIO."""
        self._on_databases(fault, stop_writing, EIO)

    def _on_databases(
        self, fault: Fault, stop: Callable[[sqlite3.Connection | Database], Callable[[], None]], errnum: int
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
        fault.undo = lambda: [end() for end in undo]
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
