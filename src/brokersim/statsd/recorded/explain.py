"""Which packets of a recording made a value what it is.

Knows nothing of files or output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Interval, TimerInterval
from brokersim.statsd.names import clean
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.recorded.stream import Record, intervals
from brokersim.statsd.sample import COUNTERS, GAUGES, KINDS, SETS, TIMERS, TOTALS, Sample


@attrs.frozen(kw_only=True)
class Contribution:
    """One line that had to do with the series; of a bad one `effect` says why it had none.

    `packet` counts records from 1; `before` and `after` are what the key held in the interval: a sum, a value, how
    many samples or elements.
    """

    packet: int
    t: float
    flush_t: float
    line: bytes
    effect: str
    before: Number
    after: Number


def explain(
    records: Iterable[Record],
    series: str,
    *,
    dialect: str = "strict",
    flush: float = 1.0,
    config: AggregatorConfig | None = None,
) -> list[Contribution]:
    """Every line that went into `series` or should have, in order; none if there is no such line.

    `series` is a sender's key or any name the dialect flushes for it (`gauges.k`, `stats.timers.t.upper_90`).
    Raises StreamError, UnknownDialectError.
    """
    aggregator = Aggregator(dialect, attrs.evolve(config or AggregatorConfig(), flush=flush))
    wanted = _Wanted(aggregator.dialect, series)
    found = []
    for flush_t, share in intervals(records, flush):
        for packet, (t, datagram) in share:
            for line in aggregator.dialect.lines(datagram[: aggregator.dialect.packet_limit]):
                judgement = aggregator.dialect.judge(line)
                concerned = [each for each in judgement.samples if wanted.has(each)]
                effects = [_EFFECTS[each.kind](each) for each in concerned]
                if judgement.bad and (meant := wanted.meant_by(line)) is not None:
                    concerned.append(meant)
                    effects += [f"bad: {reason}" for reason in judgement.bad]
                before = [_held(aggregator, sample) for sample in concerned[:1]]
                aggregator.feed_lines([line], t=t)
                if concerned:
                    found.append(
                        Contribution(
                            packet=packet,
                            t=t,
                            flush_t=flush_t,
                            line=line,
                            effect=", ".join(effects),
                            before=before[0],
                            after=_held(aggregator, concerned[0]),
                        )
                    )
        aggregator.flush(flush_t)
    return found


class _Wanted:
    """Is a sample's key the one whose value is asked for? Each kind and key is rendered once to find out."""

    def __init__(self, dialect: Dialect, series: str) -> None:
        self._dialect = dialect
        self._series = series
        self._known: dict[tuple[str, bytes], bool] = {}

    def has(self, sample: Sample) -> bool:
        which = (sample.kind, sample.key)
        if which not in self._known:
            self._known[which] = self._series == self._dialect.text(sample.key) or self._is_shown(*which)
        return self._known[which]

    def meant_by(self, line: bytes) -> Sample | None:
        """A bad line's key, if that is the one asked for: as it stands there, or as a good line's is stored."""
        name = line.partition(b":")[0].partition(b"|")[0].rstrip(b"\r")
        asked = self._series.encode("utf-8", "surrogateescape")
        for key in filter(None, (name, clean(name))):
            for kind in KINDS:
                sample = Sample(kind, key, 0)
                if key == asked or self.has(sample):
                    return sample
        return None

    def _is_shown(self, kind: str, key: bytes) -> bool:
        """A dialect of its own, so that rendering leaves no trace in the one that runs."""
        dialect = type(self._dialect)(self._dialect.config)
        only = Interval.only(
            1.0,
            counters={key: 1} if kind in (COUNTERS, TOTALS) else {},
            gauges={key: 1} if kind == GAUGES else {},
            timers={key: TimerInterval(values=[1.0], count=1)} if kind == TIMERS else {},
            sets={key: 1} if kind == SETS else {},
        )
        names = dialect.render(only)
        return self._series in names or self._series.removeprefix(dialect.path_prefix) in names


def _held(aggregator: Aggregator, sample: Sample) -> Number:
    known = aggregator.lookup(aggregator.dialect.text(sample.key))
    kind = COUNTERS if sample.kind == TOTALS else sample.kind
    if known is None:
        return 0
    value = (
        known.values[kind]
        if kind in known.values
        else known.values[next(k for k in KINDS if k in known.values)]
    )
    return len(value) if isinstance(value, list) else value


def _counted(sample: Sample) -> str:
    weight = f" × {format_number(sample.weight)}" if sample.weight != 1 else ""
    return f"add {format_number(sample.value)}{weight}"


_EFFECTS: dict[str, Callable[[Sample], str]] = {
    COUNTERS: _counted,
    TOTALS: lambda sample: f"total {format_number(sample.value)}",
    GAUGES: lambda sample: f"{'add' if sample.signed else 'set'} {format_number(sample.value)}",
    TIMERS: lambda sample: f"sample {format_number(sample.value)} ms",
    SETS: lambda sample: f"element {sample.element.decode('utf-8', 'backslashreplace')!r}",
}
