"""Knows the journal's first steps: a flood into each dialect, the series that never came, the gauge that sinks.

Doesn't know how lines are sent (flood) or why values are lost (traps). Source: docs/experiments.md, J1, J2 and J14.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from brokersim.lab.experiments import traps
from brokersim.lab.experiments.experiment import DURATION, WORDS, Experiment, Number, Option, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import COLOURS, TIME, Bars, BarSet, Chart, Curve, Panel, named
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.protocol.plurals import counted
from brokersim.statsd.packet import MAX_PACKET

if TYPE_CHECKING:
    from brokersim.lab.load.flood import Flood

DIALECTS = ("collectd", "brubeck", "etsy", "strict")


@attrs.frozen(kw_only=True)
class Plan:
    """``lines`` of ``foo.bar:1|c`` a flood, one a packet, into a server of each dialect; ``flush`` in seconds.

    ``limit`` is the store's of new series a minute; carbon's default is 50. The flood's own time is real.
    """

    lines: int = attrs.field(default=10_000, validator=attrs.validators.ge(1))
    dialects: tuple[str, ...] = DIALECTS
    flush: float = attrs.field(default=0.1, validator=attrs.validators.ge(0.01))
    limit: float = attrs.field(default=traps.MAX_CREATES, validator=attrs.validators.ge(1))
    sends: int = attrs.field(default=traps.SENDS, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="real", validator=attrs.validators.in_(("real",)))


def aggregator(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Returns ``{"meta", "runs", "rates", "creates", "signed", "lint", "checks"}``: a row a flood.

    ``creates`` are the series there are after each flush by limit and module, ``signed`` what each dialect shows of a
    count of −10,000 sent each second, ``lint`` what is found in streams with and without each trap.
    """
    from brokersim.lab.load.flood import SENDERS, flood  # it has a server run, which asking for help does not

    floods = []
    for dialect in plan.dialects:
        for sender in SENDERS:
            say(f"{dialect}: {counted(plan.lines, 'line')} from a sender that is {sender}")
            one = partial(flood, dialect, sender, plan.lines, plan.flush)
            floods.append(parts.once(f"{dialect}, {sender}", one))
    limited, free = traps.creates(plan.limit), traps.creates(None)
    sinking = {dialect: traps.signed(dialect, cured=False, sends=plan.sends) for dialect in traps.DIALECTS}
    cured = {dialect: traps.signed(dialect, cured=True, sends=plan.sends) for dialect in traps.DIALECTS}
    known = traps.traps()
    return result(
        "aggregator",
        plan,
        [
            *(_accounted(one) for one in floods),
            _drops(floods),
            *_series(limited, free),
            _sinks(plan, sinking, cured),
            *(_linted(one) for one in known),
        ],
        runs=[one.to_row() for one in floods],
        rates={f"{one.dialect}, {one.sender}": list(one.rates) for one in floods},
        creates={f"{plan.limit:g} a minute": limited.series, "no limit": free.series},
        signed={"as it is": sinking, "0 before it": cured},
        lint=[{"trap": one.name, "found": one.found(), "cured": one.found(cured=True)} for one in known],
    )


# -- what should agree


def _senders(found: Result) -> list[str]:
    return list(dict.fromkeys(row["sender"] for row in found.runs))


def _accounted(one: Flood) -> Check:
    dropped = "not told by the kernel" if one.dropped is None else f"{one.dropped:,}"
    return Check(
        id=f"J1 ({one.dialect}, {one.sender})",
        sentence="sent = received + dropped, and the counter in the store is what was received",
        ok=one.is_accounted and bool(one.graphite) and (one.sender != "bounded" or not one.dropped),
        ours=f"sent {one.offered:,}, received {one.received:,}, dropped {dropped}; "
        f"{one.graphite[0] if one.graphite else 'nothing'} came to {one.shown:,.0f}",
        journal="100,000 sent, the counter shows up in Graphite",
    )


def _drops(floods: list[Flood]) -> Check:
    dropped = {one.dialect: one.dropped or 0 for one in floods if one.sender == "unbounded"}
    return Check(
        id="J1 b",
        sentence="a sender that waits for nobody overruns a small buffer, and the server says by how much",
        ok=all(dropped.values()),
        ours=", ".join(f"{dialect} {n:,}" for dialect, n in dropped.items()) + " dropped by the kernel",
    )


def _series(limited: traps.Creates, free: traps.Creates) -> list[Check]:
    first = traps.FLUSH
    partial = limited.partial(first)
    shown = ", ".join(f"{name} {n} of {len(COUNTER_NAMES)}" for name, n in partial.items())
    healed, at_once = limited.complete_at(), free.complete_at()
    return [
        Check(
            id="J2 a",
            sentence="a limit on new series a minute leaves a module with part of its eight",
            ok=bool(partial) and not free.partial(first),
            ours=f"after the first flush {shown}; without a limit all are there",
            journal="5 of 8 reached Graphite, the aggregator silent",
        ),
        Check(
            id="J2 b",
            sentence="it heals by itself, a token at a time",
            ok=healed is not None and at_once is not None and healed > at_once,
            ours=f"all there after {healed:g} s, without a limit after {at_once:g} s"
            if healed is not None and at_once is not None
            else "never",
            journal="gone after a rebuild",
        ),
        Check(
            id="J2 c",
            sentence=f"a module's packet fits into {MAX_PACKET} bytes: the loss is not there",
            ok=traps.longest_packet() <= MAX_PACKET,
            ours=f"{traps.longest_packet()} bytes with counters of ten digits",
            journal="one packet of at most 1440 bytes",
        ),
    ]


def _sinks(plan: Plan, sinking: JsonObject, cured: JsonObject) -> Check:
    ends = {dialect: points[-1][1] for dialect, points in sinking.items()}
    right = {dialect: points[-1][1] for dialect, points in cured.items()}
    return Check(
        id="J14",
        sentence="a gauge below 0, sent each second, is a decrement to every server; behind a 0 in its packet, set",
        ok=set(ends.values()) == {-plan.sends * traps.JOBS} and set(right.values()) == {-traps.JOBS},
        ours=", ".join(f"{dialect} {end:,.0f}" for dialect, end in ends.items())
        + f" after {plan.sends} sends; cured {', '.join(f'{n:,.0f}' for n in set(right.values()))}",
        journal="about −3.7 million after 370",
    )


def _linted(one: traps.Trap) -> Check:
    found, cured = one.found(), one.found(cured=True)
    return Check(
        id=f"lint {', '.join(one.codes)}",
        sentence=f"the lint finds {one.name}, and nothing once it is cured",
        ok=set(one.codes) <= set(found) and not cured,
        ours=f"{', '.join(found) or 'nothing'}; cured {', '.join(cured) or 'nothing'}",
    )


# -- shown


def _verdict(found: Result) -> str:
    lost = {
        sender: sum(row["dropped"] or 0 for row in found.runs if row["sender"] == sender)
        for sender in _senders(found)
    }
    offered = max(
        sum(row["offered"] for row in found.runs if row["sender"] == sender) for sender in _senders(found)
    )
    told = " and ".join(f"one that is {sender} {n / offered:.1%}" for sender, n in lost.items())
    return (
        f"Of {offered:,} lines a sender lost, said by the kernel: {told}; the server counts what it received."
    )


def _charts(found: Result) -> Iterable[Chart]:
    yield _flood(found)
    yield from _curves(found)


def _flood(found: Result) -> Chart:
    """Offered, received and dropped, a panel a sender."""
    senders = list(dict.fromkeys(row["sender"] for row in found.runs))
    figures = (("offered", COLOURS[6]), ("received", COLOURS[0]), ("dropped", COLOURS[1]))
    panels = []
    for sender in senders:
        rows = [row for row in found.runs if row["sender"] == sender]
        sets = tuple(
            BarSet(label=key, values=tuple(row[key] or 0 for row in rows), colours=(colour,))
            for key, colour in figures
        )
        title = f"{sender} sender, buffer {rows[0]['buffer_bytes'] // 1024:,} KiB"
        groups = tuple(row["dialect"] for row in rows)
        panels.append(Bars(title=title, x="dialect", y="packets (lines)", groups=groups, sets=sets))
    title = "A flood of foo.bar:1|c on loopback"
    return Chart(name="aggregator-flood", title=title, panels=tuple(panels), columns=2, height=2.9)


def _curves(found: Result) -> Iterable[Chart]:
    if rates := found.parts.get("rates"):
        panel = Panel(title="foo.bar", x=TIME, y="received (lines/s)", curves=named(rates, step=False))
        yield Chart(name="aggregator-rates", title="A flood, flush by flush", panels=(panel,), height=2.8)
    if limits := found.parts.get("creates"):
        panels = tuple(
            Panel(title=f"new series: {limit}", x=TIME, y="series of 8 (count)", curves=named(modules))
            for limit, modules in limits.items()
        )
        title = "Series of each module that reached the store"
        yield Chart(name="aggregator-creates", title=title, panels=panels, columns=2, height=2.9)
    if signed := found.parts.get("signed"):
        # As it was sent and cured in one panel: one scale shows what is at stake.
        curves = tuple(
            Curve(
                label=f"{dialect}, {form}",
                points=points,
                colour=COLOURS[at],
                dash="" if form == next(iter(signed)) else "6 4",
                step=False,
            )
            for form, dialects in signed.items()
            for at, (dialect, points) in enumerate(dialects.items())
        )
        panel = Panel(title="", x=TIME, y="flux.job-states.new (jobs)", curves=curves)
        yield Chart(
            name="aggregator-signed", title="A count of -10,000 sent each second", panels=(panel,), height=2.9
        )


EXPERIMENT = Experiment(
    name="aggregator",
    examples=(
        ("brokersim bench aggregator", "10,000 lines into each dialect, bounded and not"),
        ("brokersim bench aggregator --full", "the journal's 100,000"),
    ),
    covers=("J1", "J2", "J14"),
    plan=Plan,
    run=lambda plan, say, _workers, parts: aggregator(plan, say, parts),
    options=(
        Option(names=("--lines",), kind=Whole(1), metavar="N", help="of a flood  [10000]"),
        Option(names=("--dialects",), kind=WORDS, metavar="LIST", help="[collectd,brubeck,etsy,strict]"),
        Option(names=("--flush",), kind=DURATION, metavar="FSD", help="of the server  [0.1s]"),
        Option(names=("--limit",), kind=Number(1), metavar="N", help="new series a minute, carbon's  [50]"),
    ),
    unlisted=("jobs", "clock", "reps"),
    columns=columns(
        ("dialect", "dialect", ""), ("sender", "sender", ""), ("offered", "offered", ",d"),
        ("received", "received", ",d"), ("dropped", "dropped", ",d"), ("in the store", "shown", ",.0f"),
        ("buffer bytes", "buffer_bytes", ",d"), ("wall s", "wall_s", ".2f"), ("lines/s", "lines_per_s", ",.0f"),
        ("stored as", "graphite", ""),
    ),
    journal={"lines": 100_000, "flush": 1.0},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
