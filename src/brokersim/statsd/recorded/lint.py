"""What is wrong with a recorded statsd stream: the traps that lose or bend a value without any server complaining.

Knows nothing of files or of how a finding is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest

import attrs

from brokersim.statsd import fripp2021
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.collectd import LONGEST_KEY
from brokersim.statsd.names import clean
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.packet import MAX_PACKET, pack
from brokersim.statsd.receivers import UNDERSTANDS_TOTALS
from brokersim.statsd.recorded.stream import Record, intervals
from brokersim.statsd.retention import explain_retention
from brokersim.statsd.sample import COUNTERS, GAUGES, Sample

# code: (what it means, what to do)
CODES: dict[str, tuple[str, str]] = {
    "S101": ("absolute 0 inside a series of increments: the running value is lost",
             "skip zero increments, or send totals"),
    "S102": ("a signed gauge is a decrement, not a value below 0",
             "send k:0|g and k:-n|g in one packet, or mend the sum"),
    "S103": ("set and increment of one gauge in one period: the result depends on their order",
             "set it, or only increment it"),
    "S104": ("`C` (a running total) to a server that does not know it", "send the difference as c"),
    "S105": (f"packet of more than {MAX_PACKET} bytes: a network may cut or drop it", "split it at a newline"),
    "S106": ("line of 128 bytes or more: Flux's client of 2021 drops it", "shorten the name"),
    "S107": ("bad line", "a server drops it, some read another value out of it: mend whoever sends it"),
    "S108": ("series that never arrived", "check its sender, and carbon's MAX_CREATES_PER_MINUTE"),
    "S109": ("counter that only carries totals: the server adds them up", "send differences, or C where it is known"),
    "S110": ("name that a backend will change", "use letters, digits and _ . - only"),
    "S111": ("retention that whisper cannot keep", "use whole seconds"),
    "S112": ("gauge that drifts by a constant each flush: a value is sent as an increment",
             "send it without a sign"),
    "S113": ("many values in one line to a server that takes one: of k:1:2:3|ms it keeps one, or none",
             "send a line each, or name the server to the client (dialect=)"),
}  # fmt: skip

# Fewer equal steps may be chance; the same for totals that only grow.
_STEPS_OF_A_DRIFT = 3
_STEPS_OF_A_TOTAL = 3
_TOTAL = re.compile(rb"\|C(?:\r?$|\||:)")
# A number behind a number: what follows is no new value of a pipelined line.
_PACKED = re.compile(rb"(?<![\d.:+-]):[+-]?[\d.]+:[+-]?[\d.:+-]+\|(?:ms|h|d|g|c)\b")
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.;=\-]")


@attrs.frozen(kw_only=True)
class Finding:
    """One code for one series: where it was seen first (record counted from 1, seconds), and how often in all."""

    code: str
    t: float
    packet: int
    line: bytes | None
    series: str | None
    text: str
    hint: str
    times: int = 1


def lint(
    records: Iterable[Record],
    *,
    dialect: str = "strict",
    flush: float = 1.0,
    retention: str | None = None,
    expected: Iterable[str] = (),
    max_creates: float | None = None,
) -> list[Finding]:
    """All findings, in the order of the stream; none if the stream is sound.

    `expected` are keys that should have been sent. `max_creates` is carbon's limit a minute. `flush` is in seconds.
    Raises StreamError, UnknownDialectError.
    """
    linter = _Linter(dialect, flush, max_creates)
    for flush_t, share in intervals(records, flush):
        for number, (t, datagram) in share:
            linter.packet(number, t, datagram)
        linter.end_interval(flush_t)
    linter.end(frozenset(expected))
    if retention is not None:
        linter.retention(retention, flush)
    return linter.findings()


@attrs.define(eq=False)
class _Gauge:
    """How one gauge has been written so far."""

    first: tuple[int, float, bytes]
    plus: bool = False
    minus: bool = False
    absolute: bool = False
    last_signed: bool = False
    # What it was written as in this interval.
    set_now: bool = False
    signed_now: bool = False
    level: Number = 0
    last_step: Number = 0
    equal_steps: int = 0


@attrs.define(eq=False)
class _Counter:
    first: tuple[int, float, bytes]
    last: Number
    steps: int = 0
    fell: bool = False


class _Linter:
    def __init__(self, dialect: str, flush: float, max_creates: float | None) -> None:
        config = AggregatorConfig(flush=flush, max_creates_per_minute=max_creates)
        self._aggregator = Aggregator(dialect, config)
        self._dialect = self._aggregator.dialect
        self._found: dict[tuple[str, str | None, str], Finding] = {}
        self._gauges: dict[str, _Gauge] = {}
        self._counters: dict[str, _Counter] = {}
        self._seen: set[str] = set()
        self._shown: set[str] = set()
        self._last: tuple[int, float] = (0, 0.0)

    def findings(self) -> list[Finding]:
        return sorted(self._found.values(), key=lambda found: (found.packet, found.code))

    def _find(
        self,
        code: str,
        where: tuple[int, float, bytes | None],
        series: str | None,
        detail: str = "",
        hint: str = "",
    ) -> None:
        """Counts a finding; only the first of its kind for a series is kept in full."""
        known = self._found.get((code, series, detail))
        if known is not None:
            self._found[code, series, detail] = attrs.evolve(known, times=known.times + 1)
            return
        meaning, remedy = CODES[code]
        self._found[code, series, detail] = Finding(
            code=code,
            packet=where[0],
            t=where[1],
            line=where[2],
            series=series,
            text=f"{meaning}: {detail}" if detail else meaning,
            hint=hint or remedy,
        )

    def packet(self, number: int, t: float, datagram: bytes) -> None:
        self._last = (number, t)
        if len(datagram) > MAX_PACKET:
            self._find("S105", (number, t, None), None)
        lines = self._dialect.lines(datagram[: self._dialect.packet_limit])
        for line, following in zip_longest(lines, lines[1:], fillvalue=b""):
            self._line((number, t, line), following)
        self._aggregator.feed(datagram, t=t)

    def _line(self, where: tuple[int, float, bytes], following: bytes) -> None:
        line = where[2]
        judgement = self._dialect.judge(line)
        raw_name = line.partition(b":")[0]
        name = self._dialect.text(judgement.samples[0].key if judgement.samples else raw_name)
        if len(line) > fripp2021.LONGEST_LINE:
            self._find("S106", where, name)
        total_unknown = self._dialect.name not in UNDERSTANDS_TOTALS and _TOTAL.search(line) is not None
        if total_unknown:
            self._find("S104", where, name)
        packed = not self._dialect.packs_values and _PACKED.search(line) is not None
        if packed:
            self._find("S113", where, self._dialect.text(raw_name))
        for reason in judgement.bad:
            if not (total_unknown or packed):
                self._find("S107", where, name, reason)
        if judgement.samples:
            self._name(where, name, raw_name)
        for sample in judgement.samples:
            self._seen.add(name)
            if sample.kind == GAUGES:
                self._gauge(where, name, sample, _is_second_half(sample, following))
            elif sample.kind == COUNTERS and not total_unknown:
                self._counter(where, name, sample)

    def _name(self, where: tuple[int, float, bytes], name: str, raw_name: bytes) -> None:
        if _UNSAFE.search(raw_name):
            shown = clean(raw_name).decode("ascii")
            came = raw_name.decode("utf-8", "backslashreplace")
            self._find("S110", where, name, f"{came!r} is stored as {shown!r}")
        elif self._dialect.name == "collectd" and len(raw_name) > LONGEST_KEY:
            self._find("S110", where, name, f"cut after {LONGEST_KEY} characters")

    def _gauge(self, where: tuple[int, float, bytes], name: str, sample: Sample, resets: bool) -> None:
        gauge = self._gauges.setdefault(name, _Gauge(first=where))
        if resets:
            # `k:0|g` and then `k:-n|g`: together they set a value below 0, which is the right way.
            gauge.absolute, gauge.set_now, gauge.last_signed = True, False, False
            gauge.level = 0
            return
        if sample.signed:
            gauge.signed_now = True
            gauge.plus |= where[2].partition(b":")[2].lstrip()[:1] == b"+"
            gauge.minus |= sample.value < 0
            gauge.level += sample.value
        else:
            if sample.value == 0 and gauge.last_signed:
                self._find("S101", where, name)
            elif not gauge.signed_now or sample.value != 0:
                gauge.absolute = True
            gauge.set_now |= not (sample.value == 0 and gauge.last_signed)
            gauge.level = sample.value
        gauge.last_signed = sample.signed or (gauge.last_signed and sample.value == 0)

    def _counter(self, where: tuple[int, float, bytes], name: str, sample: Sample) -> None:
        counter = self._counters.get(name)
        if counter is None:
            self._counters[name] = _Counter(first=where, last=sample.value)
            return
        counter.fell |= sample.value < counter.last
        counter.steps += sample.value > counter.last
        counter.last = sample.value

    def end_interval(self, flush_t: float) -> None:
        for name, gauge in self._gauges.items():
            if gauge.set_now and gauge.signed_now:
                self._find("S103", gauge.first, name)
            self._drift(name, gauge)
            gauge.set_now = gauge.signed_now = False
        self._shown.update(self._aggregator.flush(flush_t).values)

    def _drift(self, name: str, gauge: _Gauge) -> None:
        """Equal steps one flush after the other. `level` is what this interval's increments came to."""
        step = gauge.level if gauge.signed_now and not gauge.absolute else 0
        gauge.equal_steps = (gauge.equal_steps + 1 if step == gauge.last_step else 1) if step else 0
        gauge.last_step, gauge.level = step, 0
        if gauge.equal_steps == _STEPS_OF_A_DRIFT:
            self._find("S112", gauge.first, name, f"{format_number(step)} each flush")

    def end(self, expected: frozenset[str]) -> None:
        for name, gauge in self._gauges.items():
            if gauge.minus and not gauge.plus and not gauge.absolute:
                self._find("S102", gauge.first, name)
        for name, counter in self._counters.items():
            if not counter.fell and counter.steps >= _STEPS_OF_A_TOTAL:
                self._find("S109", counter.first, name)
        for name in sorted(expected - self._seen):
            self._find("S108", (*self._last, None), name, "no line for it")
        # All that was held back once; what got its token later has arrived.
        for name in sorted(self._aggregator.never_created()):
            self._find("S108", (*self._last, None), name, "new series beyond the limit a minute")

    def retention(self, retention: str, flush: float) -> None:
        report = explain_retention(retention, flush)
        if not report.ok:
            self._find("S111", (0, 0.0, None), None, report.text, report.hint)


def _is_second_half(sample: Sample, following: bytes) -> bool:
    """Is this the 0 of the two lines that set a gauge below 0?"""
    return not sample.signed and sample.value == 0 and following.startswith(sample.key + b":-")


def fix(records: Iterable[Record]) -> Iterator[Record]:
    """The records with what is safe to mend mended: a 0 inside increments gets its sign, long packets are split."""
    signed: dict[bytes, bool] = {}
    for t, datagram in records:
        lines = datagram.split(b"\n")
        for index, line in enumerate(lines):
            following = lines[index + 1] if index + 1 < len(lines) else b""
            lines[index] = _signed_zero(line, following, signed)
        if len(datagram) <= MAX_PACKET:
            yield t, b"\n".join(lines)
        else:
            # A line that is too long alone cannot be split; it goes as it is.
            limit = max(MAX_PACKET, *(len(line) for line in lines))
            yield from ((t, packet) for packet in pack((line for line in lines if line), limit))


def _signed_zero(line: bytes, following: bytes, signed: dict[bytes, bool]) -> bytes:
    key, colon, rest = line.partition(b":")
    if not colon or not rest.rstrip().endswith(b"|g"):
        return line
    if rest[:1] in (b"+", b"-"):
        signed[key] = True
    elif rest.startswith(b"0|") and signed.get(key) and not following.startswith(key + b":-"):
        return key + b":+" + rest
    else:
        signed[key] = False
    return line
