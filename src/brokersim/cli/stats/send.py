"""Knows `stats send`: lines from the command line or stdin to a statsd; not what an instance sends by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.recording import shown, to_document
from brokersim.cli.stats.wire import Sender, default_target
from brokersim.protocol.plurals import counted


@click.command(
    "send",
    cls=Command,
    **examples(
        ("brokersim stats send 'flux.kvs.0.request_rx:5|g'", "one gauge"),
        ("brokersim stats send -t 127.0.0.1:8126 a:1|c b:2|c", "two counters in one packet"),
        ("brokersim stats send < lines.txt", "lines on stdin"),
    ),
)
@click.option(
    "-t",
    "--to",
    "target",
    metavar="HOST:PORT",
    help="[$BROKERSIM_STATS, else 127.0.0.1:8125]",
)
@click.option("--force", is_flag=True, help="send what is no statsd line, too")
@click.argument("lines", metavar="[LINE]...", nargs=-1)
@pass_session
def send(session: Session, target: str | None, force: bool, lines: tuple[str, ...]) -> None:
    """Send statsd lines, packed into datagrams of 1440 bytes."""
    from brokersim.statsd.packet import MAX_PACKET, pack

    given = _checked(_lines(lines), force)
    limit = max([MAX_PACKET, *map(len, given)]) if force else MAX_PACKET
    sender = Sender(target or default_target())
    for packet in pack(given, limit):
        sender.send(packet)
    sender.close()
    if session.json:
        told = {
            "target": sender.target,
            "packets": sender.packets,
            "lines": len(given),
            "bytes": sender.bytes,
            "failed": dict(sender.failed),
        }
        session.write(to_document(told))
    sender.check()
    if not session.json:
        session.say(
            f"{counted(len(given), 'line')} in {counted(sender.packets, 'packet')} to {sender.target}"
        )


def _lines(arguments: tuple[str, ...]) -> list[bytes]:
    if not arguments and sys.stdin.isatty():
        raise usage_error(
            "no line to send", hint="stdin is a terminal", attempt="brokersim stats send 'k:1|c'"
        )
    texts: Iterable[bytes] = [word.encode("utf-8", "surrogateescape") for word in arguments]
    if not arguments:
        texts = sys.stdin.buffer
    return [line for text in texts for line in text.split(b"\n") if line.strip()]


def _checked(lines: list[bytes], force: bool) -> list[bytes]:
    """Raises CommandError for the first line that no server could read, unless it is to go out all the same."""
    if not lines:
        raise usage_error("no line to send", attempt="brokersim stats send 'k:1|c'")
    if force:
        return lines
    from brokersim.statsd.config import AggregatorConfig
    from brokersim.statsd.dialects import open_dialect
    from brokersim.statsd.packet import MAX_PACKET

    dialect = open_dialect("strict", AggregatorConfig())
    for line in lines:
        bad = dialect.judge(line).bad
        reason = (
            bad[0] if bad else f"longer than a packet, {MAX_PACKET} bytes" if len(line) > MAX_PACKET else ""
        )
        if reason:
            raise usage_error(
                f"{shown(line)[:80]!r} is no statsd line: {reason.replace('_', ' ')}",
                hint="a line is NAME:VALUE|TYPE, such as k:1|c, k:5|g, k:3.2|ms",
                attempt=f"{'' if b'|' in line else 'quote the |, or '}add --force to send it all the same",
            )
    return lines
