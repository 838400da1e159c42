"""Knows the conservation laws: what must hold of any run, whatever its modules do, and how one is relaxed.

It doesn't know pytest or the command line; both show what `violations` returns.
Source: the journal's laws L1 to L8 (docs/testing.md), and what a message broker promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from brokersim.kit.ledger import Ledger
from brokersim.kit.packets import CounterPacket, counter_packets
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.routing.sink import MemorySink

_EVENT_TX, _EVENT_RX = COUNTER_NAMES.index("event_tx"), COUNTER_NAMES.index("event_rx")
#: Sentences a law prints at most; the rest is a number.
_SHOWN = 10


@attrs.frozen(kw_only=True)
class Law:
    """One law: its name, its number in the journal if it has one, what it says, and who finds what breaks it."""

    name: str
    number: str
    says: str
    find: Callable[[Ledger], Sequence[str]]

    @property
    def title(self) -> str:
        return f"{self.name} ({self.number})" if self.number else self.name


@attrs.frozen(kw_only=True)
class Relaxation:
    """A law that need not hold here, and why. ``allow`` is how many violations are let pass, None all of them."""

    reason: str
    allow: int | None = None


@attrs.frozen(kw_only=True)
class Violation:
    """One broken law and the sentences that say where. ``allowed`` of them were declared."""

    law: Law
    places: tuple[str, ...]
    allowed: int = 0

    def __str__(self) -> str:
        shown = [f"    {place}" for place in self.places[:_SHOWN]]
        if len(self.places) > _SHOWN:
            shown.append(f"    … and {len(self.places) - _SHOWN} more")
        allowed = f"; {self.allowed} allowed" if self.allowed else ""
        return "\n".join([f"law {self.law.title}: {self.law.says} [{len(self.places)}{allowed}]", *shown])


class LawViolation(AssertionError):
    """A run broke laws; the text names them, the modules, the topics and the matchtags."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("\n".join(map(str, violations)))
        self.violations = tuple(violations)


def violations(
    ledger: Ledger,
    names: Iterable[str] | None = None,
    relaxed: Mapping[str, Relaxation] | None = None,
) -> list[Violation]:
    """What breaks the named laws (all of them), less what is relaxed. Settle the instance first."""
    excuses = relaxed or {}
    found = []
    for law in LAWS.values() if names is None else map(find_law, names):
        excuse = excuses.get(law.name)
        if excuse is not None and excuse.allow is None:
            continue
        allowed = 0 if excuse is None else excuse.allow or 0
        places = tuple(law.find(ledger))
        if len(places) > allowed:
            found.append(Violation(law=law, places=places, allowed=allowed))
    return found


def find_law(name: str) -> Law:
    """A law by its name or its number in the journal. Raises ValueError that lists them."""
    for law in LAWS.values():
        if name == law.name or (law.number and name.upper() == law.number):
            return law
    known = ", ".join(law.title for law in LAWS.values())
    raise ValueError(f"no law {name!r}; the laws are {known}")


def parse_relaxations(given: Mapping[str, object]) -> dict[str, Relaxation]:
    """``{"answered": "why"}`` or ``{"answered": {"allow": 2, "reason": "why"}}``, by name or number.

    Raises ValueError for an unknown law and for one without a reason.
    """
    return {find_law(name).name: _relaxation(find_law(name), value) for name, value in given.items()}


def _relaxation(law: Law, value: object) -> Relaxation:
    wanted = {"reason": value} if isinstance(value, str) else value
    if not isinstance(wanted, Mapping) or not str(wanted.get("reason", "")).strip():
        hint = f"give {{{law.name!r}: 'why it cannot hold here'}}"
        raise ValueError(f"law {law.name} is relaxed without a reason; {hint}")
    allow = wanted.get("allow")
    if not {"reason", "allow"}.issuperset(wanted) or not (
        allow is None or (isinstance(allow, int) and allow >= 0)
    ):
        raise ValueError(
            f"law {law.name}: {dict(wanted)!r} is not understood; give a reason, or reason='…' and allow=N"
        )
    return Relaxation(reason=str(wanted["reason"]), allow=allow)


# -- the laws


def _answered(ledger: Ledger) -> list[str]:
    book = ledger.conversations
    by_topic: dict[str, list[Any]] = {}
    for asked in book.unanswered():
        by_topic.setdefault(asked.topic, []).append(asked)
    open_ones = [
        f"{topic}: {len(found)} unanswered, the first {found[0]}"
        + (f"; matchtags {', '.join(str(asked.tag) for asked in found[:_SHOWN])}" if len(found) > 1 else "")
        for topic, found in by_topic.items()
    ]
    return open_ones + book.surplus


def _responses(ledger: Ledger) -> list[str]:
    return ledger.conversations.excess


def _pending(ledger: Ledger) -> list[str]:
    return [f"{asked}: {why}" for asked, why in ledger.conversations.pending()]


def _links(ledger: Ledger) -> list[str]:
    lost = {way: topics for way in ledger.links if (topics := _on_link(ledger, way))}
    return [
        f"link {way[0]}→{way[1]}: {sent} sent, {received} received; {lost.get(way, 'topics unknown')}"
        for way, (sent, received) in ledger.links.items()
        if sent != received
    ]


def _on_link(ledger: Ledger, way: tuple[int, int]) -> str:
    return ", ".join(
        f"{topic} {count:+d}" for (*at, topic), count in ledger.on_links.items() if tuple(at) == way and count
    )


def _events(ledger: Ledger) -> list[str]:
    book = ledger.deliveries
    return book.complaints + book.missing(ledger.instance.broker(0).sequence)


def _kvs_events(ledger: Ledger) -> list[str]:
    if ledger.deliveries.excused or ledger.deliveries.is_cut_off:
        return []  # a fault took events away; what it left is judged by the law of events
    # Of rank 0 only: the others follow the namespaces they were asked for.
    if not any(module.name == "kvs" for module in ledger.instance.modules(0)):
        return []
    received = sum(
        count
        for (index, topic), count in ledger.tallies.get((0, "kvs"), {}).items()
        if index == _EVENT_RX and topic != "kvs.stats-clear"
    )
    published, pulses = ledger.counters(0, "kvs")[_EVENT_TX], ledger.pulses.get((0, "kvs"), 0)
    if received == published + pulses:
        return []
    return [f"kvs.0: event_rx {received}, but event_tx {published} + {pulses} heartbeats"]


def _packets(ledger: Ledger) -> list[str]:
    return [
        f"{packet.name}.{packet.rank} at {packet.time:.6f} s: {packet.metrics} metrics in a packet of counters"
        for packet in _sent(ledger)
        if packet.metrics != len(COUNTER_NAMES) or packet.extra
    ]


def _gauges(ledger: Ledger) -> list[str]:
    last = {(packet.rank, packet.name): packet for packet in _sent(ledger)}
    found = []
    for rank in range(ledger.instance.size):
        for module in ledger.instance.modules(rank):
            instrument = module.handle.instrument
            packet = last.get((rank, module.name))
            if (
                instrument is None
                or (not instrument.flushed and packet is None)
                or module.name in ledger.unseen
            ):
                continue
            flushed = dict(zip(COUNTER_NAMES, instrument.flushed, strict=False))
            seen = {} if packet is None else packet.values
            found += [
                f"{module.name}.{rank}: the sink has {name} {seen.get(name)}, the module sent {flushed.get(name)}"
                for name in COUNTER_NAMES
                if seen.get(name) != flushed.get(name)
            ]
    return found


def _sent(ledger: Ledger) -> list[CounterPacket]:
    sink = ledger.instance.sink
    return counter_packets(sink.packets[ledger.first_packet :]) if isinstance(sink, MemorySink) else []


def _job_states(ledger: Ledger) -> list[str]:
    return ledger.sums.complaints


def _metrics(ledger: Ledger) -> list[str]:
    """What a module that has ended told is told; what it had not collected went with it.

    With a rank absent from an epoch what was lost is its record's to name.
    """
    instance = ledger.instance
    there = [module.handle.body for rank in range(instance.size) for module in instance.modules(rank)]
    told = [(body.accounts(), body in there) for body in ledger.accountants.values()]
    complaints = []
    for name in dict.fromkeys(name for accounts, _ in told for name in accounts):
        lives = [(accounts[name], is_there) for accounts, is_there in told if name in accounts]
        unsure = any(one.get("was_partial") or (is_there and one.get("is_open")) for one, is_there in lives)
        if unsure or name in ledger.unseen or not any("emitted" in one for one, _ in lives):
            continue
        observed, emitted, held = (
            sum(one.get(what, 0) for one, _ in lives) for what in ("observed", "emitted", "held")
        )
        if observed != emitted + held:
            text = (
                f"{observed} observations, but {emitted} in the rows of epochs and {held} not collected yet"
            )
            complaints.append(f"stat {name}: {text}")
    return complaints


#: In the order they are shown.
LAWS = {
    law.name: law
    for law in (
        Law(name="answered", number="L3", says="every request is answered exactly once", find=_answered),
        Law(name="responses", number="", says="responses never exceed requests", find=_responses),
        Law(name="pending", number="", says="no matchtag is left pending", find=_pending),
        Law(name="links", number="", says="what one side of a link sends, the other receives", find=_links),
        Law(name="events", number="", says="every subscriber gets every event once, in order", find=_events),
        Law(
            name="kvs-events",
            number="L4",
            says="on rank 0 kvs.event_rx = kvs.event_tx + heartbeats",
            find=_kvs_events,
        ),
        Law(name="packets", number="L1", says="a packet of counters has eight metrics", find=_packets),
        Law(name="gauges", number="", says="the sink has the counters of the last flush", find=_gauges),
        Law(
            name="job-states",
            number="L8",
            says="the states of jobs sum to the jobs submitted",
            find=_job_states,
        ),
        Law(
            name="metrics-conserved",
            number="",
            says="what is observed is in the rows of an epoch, once, or not collected yet",
            find=_metrics,
        ),
    )
}
