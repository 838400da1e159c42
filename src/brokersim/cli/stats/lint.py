"""Knows how `stats lint` prints findings and rewrites a recording; not what is wrong (statsd.recorded.lint)."""

from __future__ import annotations

from typing import Any

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.options import dialect_option, flush_option, warn_if_cut, wrong_use
from brokersim.cli.stats.recording import STANDARD, Recording, Writer, read, rewrite, shown, to_document
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.statsd.recorded.lint import Finding
from brokersim.statsd.recorded.lint import fix as fixed
from brokersim.statsd.recorded.lint import lint as linted


@click.command(
    "lint",
    cls=Command,
    **examples(
        ("brokersim stats lint week7.jsonl", "what would lose or bend a value"),
        ("brokersim stats lint --dialect brubeck --retention 1s:1d -", "for that server and store"),
        ("brokersim stats lint --fix week7.jsonl", "rewrite what is safe, tell the rest"),
    ),
)
@dialect_option
@flush_option
@click.option("--retention", metavar="STEP:LENGTH", help="of the Graphite that stores it")
@click.option("--expect", "expected", multiple=True, metavar="NAME", help="a series that should be there")
@click.option("--max-creates", type=click.FloatRange(1), metavar="N", help="carbon's new series a minute")
@click.option("--fix", is_flag=True, help="rewrite FILE (S101, S105); - goes to stdout")
@click.argument("file", metavar="[FILE|-]", default=STANDARD)
@pass_session
def lint(session: Session, /, file: str, fix: bool, **given: Any) -> int | None:
    """Find what is wrong with a statsd stream; exit 1 if anything is.

    FILE is a recording of `stats record`, or plain statsd lines.
    """
    if session.json and fix and file == STANDARD:
        raise usage_error("--json and --fix would both write to stdout", hint="name a file")
    recording = read(file, plain=True)
    warn_if_cut(session, recording)
    if fix:
        recording = _fix(session, recording)
    with wrong_use():
        found = linted(recording.records, **given)
    lines = sum(1 for _, packet in recording.records for line in packet.split(b"\n") if line)
    if session.json:
        document = [_to_json(finding, recording) for finding in found]
        session.write(to_document({"findings": document, "packets": len(recording.records), "lines": lines}))
    else:
        # With --fix, stdout is the mended recording where a file's place would be.
        tell = session.say if fix and file == STANDARD else session.out
        for finding in found:
            tell("\n".join(_to_text(finding, recording)))
        session.say(f"{counted(len(found), 'finding')} in {counted(lines, 'line')}")
    return FAILED if found else None


def _fix(session: Session, recording: Recording) -> Recording:
    """The mended recording, written where it came from; untouched if nothing was to be mended."""
    records = list(fixed(recording.records))
    if recording.name == STANDARD:
        writer = Writer(STANDARD, plain=recording.is_plain)
        for t, packet in records:
            writer.write(t, packet)
        writer.close()
    elif records != recording.records:
        try:
            rewrite(recording.name, records, plain=recording.is_plain)
        except OSError as error:
            raise usage_error(f"{recording.name}: cannot be rewritten: {error.strerror}") from None
        changed = len(set(records) - set(recording.records))
        session.say(f"{recording.name}: rewritten, {counted(changed, 'packet')} mended")
    return recording._replace(records=records, lines=list(range(1, len(records) + 1)))


def _file_line(finding: Finding, recording: Recording) -> int | None:
    return recording.lines[finding.packet - 1] if finding.packet else None


def _to_text(finding: Finding, recording: Recording) -> list[str]:
    number = _file_line(finding, recording)
    where = recording.name if number is None else f"{recording.name}:{number}"
    subject = finding.series if finding.line is None else shown(finding.line)
    times = f" ({finding.times:,} times)" if finding.times > 1 else ""
    told = "  ".join(
        part for part in (f"{where}: {finding.code} {subject or ''}".rstrip(), finding.text) if part
    )
    return [f"{told}{times}", f"   hint: {finding.hint}"]


def _to_json(finding: Finding, recording: Recording) -> JsonObject:
    return {
        "code": finding.code,
        "t": finding.t,
        "packet": finding.packet,
        "file_line": _file_line(finding, recording),
        "line": None if finding.line is None else finding.line.decode("utf-8", "surrogateescape"),
        "series": finding.series,
        "text": finding.text,
        "hint": finding.hint,
        "times": finding.times,
    }
