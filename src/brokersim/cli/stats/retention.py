"""Knows how `stats explain-retention` prints what a Graphite retention keeps; not the rules (statsd.retention)."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed


def _check(text: str) -> str:
    if not all(":" in part for part in text.split(",")):
        raise ValueError(f"{text!r} is no retention; give STEP:LENGTH, several with commas (1s:1d,60s:30d)")
    return text


@click.command(
    "explain-retention",
    cls=Command,
    **examples(
        ("brokersim stats explain-retention 1s:1d,60s:30d", "points and size of a series"),
        ("brokersim stats explain-retention 0.1s:1d", "what whisper makes of it"),
        ("brokersim stats explain-retention --flush 10s 60s:7d", "how many flushes are kept"),
    ),
)
@click.option("--flush", type=DURATION, metavar="FSD", help="flush interval of the sender")
@click.argument("retention", type=Parsed("retention", _check))
@pass_session
def explain_retention(session: Session, flush: float | None, retention: str) -> int | None:
    """What a Graphite retention keeps, what it costs, and whether whisper can do it. Exit 1 if it cannot."""
    from brokersim.statsd.retention import explain_retention as explained

    report = explained(retention, flush)
    if session.json:
        archives = [
            {"step_s": each.step, "points": each.points, "length_s": each.seconds} for each in report.archives
        ]
        session.emit(
            {
                "retention": retention,
                "ok": report.ok,
                "text": report.text,
                "hint": report.hint,
                "archives": archives,
                "bytes": report.bytes,
            }
        )
        return None if report.ok else 1
    if not report.ok:
        session.fail(report.text, attempt=report.hint)
    session.out(f"{retention} = {report.text}")
    if report.hint:
        session.out(f"  {report.hint}")
    return None
