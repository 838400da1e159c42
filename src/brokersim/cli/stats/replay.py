"""Knows `stats replay`: a recording through an aggregator, or sent again; not how either works."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.options import DIALECT, DIALECT_NAMES, flush_option, warn_if_cut, wrong_use
from brokersim.cli.stats.recording import read, to_document
from brokersim.cli.stats.wire import Sender
from brokersim.cli.types import Parsed
from brokersim.protocol.plurals import counted
from brokersim.statsd.recorded.stream import Record

#: Shorter waits than this cost more than they are exact.
_SHORTEST_SLEEP: Final = 0.0005


def parse_speed(text: str) -> float:
    """How many times as fast as recorded; ``max`` is without any pause. Raises ValueError."""
    if text == "max":
        return math.inf
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise ValueError(f"not a speed: {text!r}; give a number above 0 (2 is twice as fast) or max")
    return speed


@click.command(
    "replay",
    cls=Command,
    **examples(
        ("brokersim stats replay --dialect brubeck --json week7.jsonl", "its flushes"),
        ("brokersim stats replay --dialect etsy --dialect strict week7.jsonl", "where two differ"),
        ("brokersim stats replay -x 10 --to localhost:8125 week7.jsonl.gz", "send it, ten times faster"),
    ),
)
@click.option("--dialect", "dialects", type=DIALECT, multiple=True, metavar="NAME",
              help=f"{DIALECT_NAMES}; twice: compare  [strict]")  # fmt: skip
@flush_option
@click.option("--inclusive", is_flag=True, help="a packet at the instant of a flush is in that flush")
@click.option("-x", "--speed", type=Parsed("speed", parse_speed), metavar="SPEED|max", help="with --to  [1]")
@click.option("--to", "target", metavar="HOST:PORT", help="really send it, in real time")
@list_options
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@pass_session
def replay(
    session: Session, dialects: tuple[str, ...], flush: float, inclusive: bool, speed: float | None,
    target: str | None, inputs: tuple[str, ...],
) -> int | None:  # fmt: skip
    """Run recordings through an aggregator on their own time; several are merged by time.

    Two dialects: print where their values differ, exit 1 if they do.
    """
    if target is None and speed is not None:
        raise usage_error("--speed needs a server to send to", attempt="add --to HOST:PORT")
    if target is not None and (dialects or inclusive):
        raise usage_error("--to sends the packets; the server they go to has its own dialect and flushes")
    if len(set(dialects)) > 2:
        raise usage_error("at most two dialects can be compared")
    records = _merged(session, inputs)
    if target is not None:
        _send(session, records, target, speed or 1.0)
        return None
    if len(set(dialects)) == 2:
        return _compare(session, records, dialects, flush)
    _flushes(session, records, dialects[0] if dialects else "strict", flush, inclusive)
    return None


def _merged(session: Session, inputs: tuple[str, ...]) -> list[Record]:
    records: list[Record] = []
    for name in inputs:
        recording = read(name)
        warn_if_cut(session, recording)
        records += recording.records
    return sorted(records, key=lambda record: record[0])


def _flushes(session: Session, records: list[Record], dialect: str, flush: float, inclusive: bool) -> None:
    from brokersim.statsd.numbers import format_number
    from brokersim.statsd.recorded.replay import replay as replayed

    with wrong_use():
        flushes = replayed(records, dialect=dialect, flush=flush, inclusive=inclusive)
    if session.json:
        session.write(to_document([each.to_json() for each in flushes]))
        return
    rows = [
        (f"{each.t:.15g}", name, format_number(value))
        for each in flushes
        for name, value in each.values.items()
    ]
    session.table(("t_s", "Name", "Value"), rows)
    bad = sum(each.bad_lines for each in flushes)
    session.say(
        f"{counted(len(flushes), 'flush')} of {counted(len(records), 'packet')}, {counted(bad, 'bad line')}"
    )


def _compare(session: Session, records: list[Record], dialects: tuple[str, ...], flush: float) -> int | None:
    from brokersim.statsd.numbers import format_number
    from brokersim.statsd.recorded.replay import compare

    one, other = dict.fromkeys(dialects)
    with wrong_use():
        found = compare(records, one, other, flush=flush)
    if session.json:
        differences = [
            {"t": each.t, "key": key, "type": kind, "values": [_number(each.one), _number(each.other)]}
            for each in found
            for key, _, kind in [each.key.rpartition("|")]
        ]
        session.write(to_document({"dialects": [one, other], "differences": differences}))
    else:
        rows = [
            (
                f"{each.t:.15g}",
                each.key,
                *("-" if n is None else format_number(n) for n in (each.one, each.other)),
            )
            for each in found
        ]
        if rows:
            session.table(("t_s", "Key", one, other), rows)
        session.say(
            f"{one} and {other}: {counted(len(found), 'difference')} in {counted(len(records), 'packet')}"
        )
    return FAILED if found else None


def _number(value: float | None) -> Any:
    """JSON has no number for infinity."""
    return value if value is None or isinstance(value, int) or math.isfinite(value) else str(value)


def _send(session: Session, records: list[Record], target: str, speed: float) -> None:
    sender = Sender(target)
    player = Player(sender.send)
    try:
        player.play(records, speed)
    finally:
        sender.close()
        told = {
            "target": sender.target,
            "packets": sender.packets,
            "bytes": sender.bytes,
            "elapsed_s": round(player.elapsed, 6),
            "latest_s": round(player.latest, 6),
            "failed": dict(sender.failed),
        }
        if session.json:
            session.write(to_document(told))
        else:
            session.say(
                f"{counted(sender.packets, 'packet')}, {counted(sender.bytes, 'byte')} "
                f"in {player.elapsed:.1f} s to {sender.target}; "
                f"the latest {player.latest * 1000:.1f} ms behind its time"
            )
    sender.check()


class Player:
    """Sends packets at their recorded distances, each at its own time, so that delays do not add up."""

    def __init__(
        self,
        send: Callable[[bytes], object],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._send = send
        self._clock = clock
        self._sleep = sleep
        self.elapsed = 0.0
        #: Seconds the most belated packet went out behind its time.
        self.latest = 0.0

    def play(self, records: list[Record], speed: float) -> None:
        """The records, sorted by time; ``speed`` is infinite for no pauses at all."""
        start = self._clock()
        try:
            for t, packet in records:
                if speed != math.inf:
                    self._wait_until(start + (t - records[0][0]) / speed)
                self._send(packet)
        finally:
            self.elapsed = self._clock() - start

    def _wait_until(self, due: float) -> None:
        ahead = due - self._clock()
        if ahead >= _SHORTEST_SLEEP:
            self._sleep(ahead)
        self.latest = max(self.latest, self._clock() - due)
