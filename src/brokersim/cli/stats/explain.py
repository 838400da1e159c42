"""Knows how `stats explain` prints the packets that made a value; not how they are found (statsd.recorded.explain)."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import similar
from brokersim.cli.session import Session
from brokersim.cli.stats.options import dialect_option, flush_option, warn_if_cut, wrong_use
from brokersim.cli.stats.recording import STANDARD, Recording, read, shown, to_document
from brokersim.cli.types import DURATION
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.statsd.numbers import format_number
from brokersim.statsd.recorded.explain import Contribution
from brokersim.statsd.recorded.explain import explain as explained
from brokersim.statsd.recorded.replay import replay


@click.command(
    "explain",
    cls=Command,
    **examples(
        ("brokersim stats explain flux.job-states.run week7.jsonl", "every line that moved it"),
        ("brokersim stats explain timers.t.upper_90 --at 12s week7.jsonl", "of the flush at second 12"),
    ),
)
@dialect_option
@flush_option
@click.option("--at", type=DURATION, metavar="FSD", help="only of the flush at this time")
@list_options
@click.argument("series")
@click.argument("file", metavar="[FILE|-]", default=STANDARD)
@pass_session
def explain(session: Session, dialect: str, flush: float, at: float | None, series: str, file: str) -> None:
    """Name the packets that made a value what it is.

    SERIES is a sender's name (flux.kvs.0.request_rx) or a flushed one (gauges.flux.kvs.0.request_rx).
    """
    recording = read(file)
    warn_if_cut(session, recording)
    with wrong_use():
        found = explained(recording.records, series, dialect=dialect, flush=flush)
    if not found:
        _nothing(session, recording, series, dialect, flush)
    if at is not None:
        times = f"{found[0].flush_t:.15g} to {found[-1].flush_t:.15g}"
        found = [each for each in found if abs(each.flush_t - at) < flush / 2]
        if not found:
            session.fail(
                f"no line went into {series!r} for the flush at {at:g} s", hint=f"there are some at {times}"
            )
    if session.json:
        session.write(to_document([_to_json(each) for each in found]))
        return
    session.table(("Packet", "t_s", "Flush", "Line", "Effect", "Before", "After"), map(_row, found))
    packets = len({each.packet for each in found})
    session.say(
        f"{counted(len(found), 'line')} of {counted(packets, 'packet')}, "
        f"of {counted(len(recording.records), 'packet')} in {file}"
    )


def _nothing(session: Session, recording: Recording, series: str, dialect: str, flush: float) -> None:
    with wrong_use():
        flushes = replay(recording.records, dialect=dialect, flush=flush)
    keys = {shown(line.partition(b":")[0]) for _, packet in recording.records for line in packet.split(b"\n")}
    known = sorted(keys.union(*(each.values for each in flushes)) - {""})
    session.fail(
        f"no line of {recording.name} went into {series!r}",
        hint=similar(series, known, "one that is there") or f"{len(known):,} names are there",
        attempt=f"brokersim stats replay {recording.name}",
    )


def _row(each: Contribution) -> tuple[object, ...]:
    return (
        str(each.packet),
        f"{each.t:.15g}",
        f"{each.flush_t:.15g}",
        shown(each.line),
        each.effect,
        format_number(each.before),
        format_number(each.after),
    )


def _to_json(each: Contribution) -> JsonObject:
    return {
        "packet": each.packet,
        "t": each.t,
        "flush_t": each.flush_t,
        "line": each.line.decode("utf-8", "surrogateescape"),
        "effect": each.effect,
        "before": each.before,
        "after": each.after,
    }
