"""Knows the command that sends a recorded trace's requests again; not how they are told apart or compared (lab)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed

if TYPE_CHECKING:
    from brokersim.lab.load.replay_report import Replayed


def parse_speed(text: str) -> float:
    """``1``, ``2.5``, ``max``. Raises ValueError."""
    try:
        speed = float("inf") if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise ValueError(f"not a speed: {text!r}; give 1, 10 or max")
    return speed


SPEED = Parsed("speed", parse_speed)


@click.command(
    "replay",
    cls=Command,
    **examples(
        ("brokersim module trace --full --json > day.jsonl", "record"),
        ("brokersim module replay day.jsonl", "send its requests again, at the same pace"),
        ("brokersim module replay -x max -s kvs day.jsonl", "those for kvs, as fast as it goes"),
    ),
)
@click.option("-x", "--speed", type=SPEED, default="1", metavar="N|max", help="times as fast  [1]")
@click.option(
    "-s", "--service", "services", multiple=True, metavar="NAME", help="only requests for this service"
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="only the first N requests")
@click.option("--patience", type=DURATION, default="5s", metavar="FSD", help="wait for late answers  [5s]")
@click.option("--gate", is_flag=True, help="exit 1 if something is answered differently")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_session
def replay(
    session: Session,
    speed: float,
    services: tuple[str, ...],
    limit: int | None,
    patience: float,
    gate: bool,
    file: Path,
) -> int | None:
    """Send a recorded trace's requests again and tell what is answered differently."""
    from brokersim.lab.load.message_trace import TraceError, read_trace
    from brokersim.lab.load.trace_replay import replay as run

    try:
        trace = read_trace(file, services, limit)
    except TraceError as error:
        raise usage_error(str(error), attempt="brokersim module replay -h") from None
    if not trace.requests:
        reasons = ", ".join(f"{count} {reason}" for reason, count in trace.left_out.items())
        raise usage_error(f"{file}: no request to send ({reasons or 'it is empty'})")
    found = run(session.client, trace, speed, patience)
    if session.json:
        session.emit(found.to_json())
    else:
        _print(session, found)
    return FAILED if gate and not found.is_same else None


def _print(session: Session, found: Replayed) -> None:
    from brokersim.lab.load.replay_report import MOST_TOLD

    for one in found.differently[:MOST_TOLD]:
        session.out(f"✗ {one.topic} (request {one.number + 1}): {one.then}  →  {one.now}")
    if len(found.differently) > MOST_TOLD:
        session.out(f"… and {len(found.differently) - MOST_TOLD:,} more; --json has all")
    session.out(
        f"{found.sent:,} requests sent, {found.same:,} answered as before, {len(found.differently):,} differently, "
        f"{found.unanswered:,} not at all, {found.not_compared:,} without a recorded answer"
    )
    if found.median_then_s is not None and found.median_now_s is not None:
        session.out(
            f"median answer {found.median_then_s * 1e3:.3f} ms then, {found.median_now_s * 1e3:.3f} ms now; "
            f"{found.span_s:.3f} s in {found.wall_s:.3f} s"
        )
    for reason, count in found.left_out.items():
        session.say(f"left out: {count:,} {reason}")
