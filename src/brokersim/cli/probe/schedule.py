"""Knows the command that prints when a schedule is due; no instance, no clock but to say what now is."""

from __future__ import annotations

import random
import time
from datetime import datetime
from itertools import islice

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.schedules import Schedule, parse_schedule, to_spec, zone


def parse_moment(text: str) -> float:
    """Seconds since the epoch, or ISO 8601 (this machine's zone unless an offset is given). Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"not a time: {text!r:.60}; give seconds since the epoch or 2026-03-29T01:30"
        ) from None


@click.command(
    "schedule",
    cls=Command,
    **examples(
        ("brokersim probe schedule 10s for 1m every 1h", "six ticks an hour"),
        ("brokersim probe schedule '0 6 * * SUN#3' -n 4", "third Sundays"),
        ("brokersim probe schedule windows daily=08:00-08:30 every=10m", ""),
    ),
)
@click.option("--now", metavar="T", type=Parsed("time", parse_moment), help="begin then  [now]")
@click.option("-n", "--count", type=click.IntRange(1, 100_000), default=10, help="so many ticks  [10]")
@click.option("--seed", type=int, default=0, help="of random schedules  [0]")
@click.argument("spec", nargs=-1, required=True)
@pass_session
def schedule(session: Session, now: float | None, count: int, seed: int, spec: tuple[str, ...]) -> None:
    """Print the ticks of a schedule, in seconds and as times.

    SPEC is a time (10s), levels (10s for 1m every 1h), a cron expression, KIND KEY=VALUE..., or JSON. Kinds: every,
    onetime, windows, nested, cron, random, adaptive, avoid.
    """
    try:
        wanted = parse_schedule(" ".join(spec))
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim probe schedule --help") from None
    begin = time.time() if now is None else now
    ticks = list(islice(wanted.ticks(begin, random.Random(seed)), count))
    if session.json:
        session.emit({"schedule": to_spec(wanted), "now": begin, "ticks": ticks})
    elif not ticks:
        raise CommandError(f"no tick from {_shown(begin, wanted)} on: it is over")
    for tick in ticks if not session.json else ():
        session.out(f"{tick:.15g}  {_shown(tick, wanted)}")


def _shown(tick: float, wanted: Schedule) -> str:
    where = zone(getattr(wanted, "tz", None))
    try:
        return datetime.fromtimestamp(tick, where).isoformat()
    except (OverflowError, ValueError):
        return "beyond the year 9999"
