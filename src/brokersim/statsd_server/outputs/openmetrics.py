"""Knows the OpenMetrics text format and how statsd's keys become its names; not who scrapes.

Source: OpenMetrics 1.0; names and labels as Prometheus takes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from itertools import count as numbers
from typing import NamedTuple

import attrs

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.flushed import Flush
from brokersim.statsd.numbers import Number
from brokersim.statsd.timerstats import threshold_rank
from brokersim.statsd_server.health import ServerStatistics, own_values
from brokersim.statsd_server.outputs.histograms import Histogram

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: The format before OpenMetrics, which promtool and curl's readers know: other names of types, no end mark.
CLASSIC_TYPE = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES = (0.5, 0.9, 0.99)
COUNTER, GAUGE, SUMMARY, HISTOGRAM, UNKNOWN = "counter", "gauge", "summary", "histogram", "unknown"
#: Sample names that a family of a type occupies beside its own.
_SUFFIXES = {
    COUNTER: ("_total", "_created"),
    SUMMARY: ("_count", "_sum", "_created"),
    HISTOGRAM: ("_bucket", "_count", "_sum", "_created"),
    GAUGE: (),
    UNKNOWN: (),
}
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_:]")
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9_]")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
#: Label that tells keys apart which are one once their names are escaped.
_KEY_LABEL = "key"
_RESERVED_LABELS = ("quantile", "le", _KEY_LABEL)

Labels = tuple[tuple[str, str], ...]


def metric_name(text: str) -> str:
    """``text`` with all that a name may not hold as ``_``; never empty, never a digit first."""
    name = _NOT_IN_NAME.sub("_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def label_name(text: str) -> str:
    """The same for a label, whose names beginning with ``__`` and a few others are taken."""
    name = _NOT_IN_LABEL.sub("_", text)
    if not name or name[0].isdigit():
        name = f"_{name}"
    return f"exported_{name.lstrip('_')}" if name.startswith("__") or name in _RESERVED_LABELS else name


def split_key(key: str) -> tuple[str, Labels]:
    """Name and labels of ``name;tag=value;bare``; a bare tag is ``true``, of equal labels the last one stands."""
    name, *tags = key.split(";")
    labels: dict[str, str] = {}
    for tag in tags:
        label, has_value, value = tag.partition("=")
        labels[label_name(label)] = value if has_value and value else "true"
    return metric_name(name), tuple(sorted(labels.items()))


def number_text(value: Number) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def sample_line(name: str, labels: Iterable[tuple[str, str]], value: Number) -> str:
    inside = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels)
    return f"{name}{{{inside}}} {number_text(value)}\n" if inside else f"{name} {number_text(value)}\n"


@attrs.define(eq=False)
class _Family:
    name: str
    kind: str
    help: str
    lines: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class NameTable:
    """Which family and labels a key has, no other key's; they stay while no key it collided with is forgotten.

    Two keys of one type that differ only in what was escaped share a family, the later with a label ``key``; of two
    types, the later family is named for its type.
    """

    _given: dict[tuple[str, str, str], tuple[str, Labels]] = attrs.field(factory=dict)
    _kinds: dict[str, str] = attrs.field(factory=dict)
    _owners: dict[str, str] = attrs.field(factory=dict)
    _taken: set[tuple[str, Labels]] = attrs.field(factory=set)

    def place(self, kind: str, key: str, table: str = "") -> tuple[str, Labels]:
        """(family name, labels). ``table`` tells equal keys apart that are of one type."""
        found = self._given.get((kind, key, table))
        if found is None:
            name, labels = split_key(key)
            # Not the type's own word: promtool takes that for a slip.
            name = f"{name}_distribution" if kind == HISTOGRAM else name
            family = self._family(kind, name.removesuffix("_total") if kind == COUNTER else name)
            labels = self._untaken(family, labels, key, table)
            self._taken.add((family, labels))
            found = self._given[kind, key, table] = (family, labels)
        return found

    def _untaken(self, family: str, labels: Labels, key: str, table: str) -> Labels:
        """The labels, with one more if a key that only looks different has these."""
        texts = chain((key, f"{table} {key}"), (f"{table} {key} {n}" for n in numbers(2)))
        told_apart = chain((labels,), ((*labels, (_KEY_LABEL, text)) for text in texts))
        return next(each for each in told_apart if (family, each) not in self._taken)

    def _family(self, kind: str, name: str) -> str:
        name = name or "_"
        for attempt in range(1, 1000):
            wanted = (
                name if attempt == 1 else f"{name}_{kind}" if attempt == 2 else f"{name}_{kind}_{attempt}"
            )
            if self._kinds.get(wanted) == kind:
                return wanted
            names = [wanted, *(wanted + suffix for suffix in _SUFFIXES[kind])]
            if not any(each in self._owners for each in names):
                self._kinds[wanted] = kind
                self._owners.update(dict.fromkeys(names, wanted))
                return wanted
        raise AssertionError(f"no free name for {name}")

    def kept(self, is_kept: Callable[[str], bool]) -> NameTable:
        """A table of only those keys, placed anew in the order in which they came."""
        table = NameTable()
        for given in self._given:
            if is_kept(given[1]):
                table.place(*given)
        return table

    def __len__(self) -> int:
        return len(self._given)


class _Totals(NamedTuple):
    """What a summary's count and sum have grown to."""

    samples: Number = 0
    total: float = 0.0


_NOTHING_YET = _Totals()
_GAUGE_HELP = {"gauge": "statsd gauge", "set": "statsd set, members in the interval"}
#: Keys between two looks at what else there is to do: some 2 ms of work.
SLICE_KEYS = 200


class OpenMetricsPage:
    """The text of ``/metrics``: counters since the start, gauges, set sizes, timers as summaries.

    With ``histograms`` each timer has one beside it, of type histogram, named ``NAME_distribution``, since the start:
    however seldom it is scraped, no flush between is missed. Quantiles are of the last interval, by the nearest rank;
    counts and sums since the start, sample rates heeded. Timings stay in the unit they came in, which for ``ms`` is
    milliseconds: `h` and `d` values have none. A counter below 0 is told as unknown, since a counter of OpenMetrics
    cannot be; of a timer what is below 0 is left out.
    """

    def __init__(self, prefix: str = "statsd", *, histograms: bool = False) -> None:
        self._prefix = prefix
        self._histograms: dict[str, Histogram] | None = {} if histograms else None
        self._names = NameTable()
        self._flush: Flush | None = None
        self._timers: dict[str, _Totals] = {}

    def offer(self, flush: Flush) -> None:
        """Takes in a flush; every one has to pass here, or summaries miss it."""
        self._flush = flush
        keys = flush.timer_counts.keys()
        before = self._timers
        # Made anew, since a page may be half-way through the old one. Keys that expired are gone, their sums with
        # them: what comes back starts at 0, which scrapers expect.
        self._timers = {}
        for key, count in flush.timer_counts.items():
            so_far = before.get(key, _NOTHING_YET)
            if count:
                so_far = _Totals(so_far.samples + count, so_far.total + _mean(flush, key) * count)
            self._timers[key] = so_far
        if self._histograms is not None:
            self._histograms = {
                key: _grown(self._histograms.get(key), flush, key) for key in flush.timer_counts
            }
        shown = len(flush.counters) + len(flush.gauges) + len(flush.sets) + len(keys)
        if len(self._names) > 2 * shown + 1000:
            seen = {*flush.counters, *keys, *flush.gauges, *flush.sets}
            own = f"{self._prefix}_"
            self._names = self._names.kept(lambda key: key in seen or key.startswith(own))

    def render(self, statistics: ServerStatistics | None = None) -> str:
        """The page, complete with ``# EOF``; the server's own health first."""
        return "".join(self.slices(statistics))

    def slices(self, statistics: ServerStatistics | None = None, *, classic: bool = False) -> Iterator[str]:
        """The page of this moment, in pieces that are each made quickly; many are empty. ``classic``: the format
        before OpenMetrics."""
        page = _Page(
            names=self._names,
            flush=self._flush,
            timers=self._timers,
            histograms=self._histograms or {},
            prefix=self._prefix,
            classic=classic,
        )
        return page.slices(statistics)


@attrs.define(eq=False, kw_only=True)
class _Page:
    """One page while it is made: of one flush, whatever is flushed meanwhile."""

    names: NameTable
    flush: Flush | None
    timers: Mapping[str, _Totals]
    histograms: Mapping[str, Histogram]
    prefix: str
    classic: bool
    families: dict[str, _Family] = attrs.field(factory=dict)

    def slices(self, statistics: ServerStatistics | None) -> Iterator[str]:
        if statistics is not None:
            self._own(statistics)
        if self.flush is not None:
            for number, _ in enumerate(self._keys(self.flush)):
                if number % SLICE_KEYS == SLICE_KEYS - 1:
                    yield ""
        families = iter(self.families.values())
        while some := list(islice(families, SLICE_KEYS)):
            yield "".join([_family_text(family, self.classic) for family in some])
        if not self.classic:
            yield "# EOF\n"

    def _family(self, kind: str, key: str, text: str, table: str = "") -> tuple[_Family, Labels]:
        name, labels = self.names.place(kind, key, table)
        family = self.families.get(name)
        if family is None:
            family = self.families[name] = _Family(name, kind, text)
        return family, labels

    def _keys(self, flush: Flush) -> Iterator[None]:
        """Puts every key into its family, one at a time."""
        for key in flush.counters:
            total = flush.totals.get(key, 0)
            kind = COUNTER if total >= 0 else UNKNOWN
            family, labels = self._family(kind, key, "statsd counter, since the start")
            suffix = "_total" if kind == COUNTER else ""
            family.lines.append(sample_line(family.name + suffix, labels, total))
            yield
        for key in flush.timer_counts:
            family, labels = self._family(SUMMARY, key, "statsd timer, as sent (ms: milliseconds)")
            family.lines += self._summary(family.name, labels, flush, key)
            if key in self.histograms:
                family, labels = self._family(HISTOGRAM, key, "statsd timer, as sent, since the start")
                family.lines += self._buckets(family.name, labels, key)
            yield
        for name, values in (("gauge", flush.gauges), ("set", flush.sets)):
            for key, value in values.items():
                family, labels = self._family(GAUGE, key, _GAUGE_HELP[name], name)
                family.lines.append(sample_line(family.name, labels, value))
                yield

    def _summary(self, name: str, labels: Labels, flush: Flush, key: str) -> Iterator[str]:
        # Below 0 a summary can have neither quantiles nor a sum. In brubeck's dialect timers can: their key's first
        # type takes in what is sent as another.
        for quantile, value in _quantiles(flush, key):
            if value >= 0:
                yield sample_line(name, (*labels, ("quantile", str(quantile))), value)
        totals = self.timers[key]
        yield sample_line(f"{name}_count", labels, totals.samples)
        if totals.total >= 0:
            yield sample_line(f"{name}_sum", labels, totals.total)

    def _buckets(self, name: str, labels: Labels, key: str) -> Iterator[str]:
        count: Number = 0
        # Whole numbers by the format; what sampled timings stand for need not be.
        for upper, count in self.histograms[key].cumulative():
            yield sample_line(f"{name}_bucket", (*labels, ("le", number_text(upper))), round(count))
        yield sample_line(f"{name}_count", labels, round(count))
        if self.timers[key].total >= 0:
            yield sample_line(f"{name}_sum", labels, self.timers[key].total)

    def _own(self, statistics: ServerStatistics) -> None:
        """The server's own metrics; names that end in what they count are counters."""
        for kind, name, labels, value in _own_samples(statistics):
            family, _ = self._family(
                kind,
                f"{self.prefix}_{name}",
                _OWN_HELP.get(name, f"{name.replace('_', ' ')} of this statsd server, since its start"),
            )
            suffix = "_total" if kind == COUNTER else ""
            family.lines.append(sample_line(family.name + suffix, labels, value))


_OWN_HELP = {
    "keys": "keys known now, by type",
    "kernel_queue": "bytes of packets that wait in the kernel",
    "flush_lag": "seconds by which the last flush was late",
    "flush_duration": "seconds the last flush took",
    "tcp_clients": "clients of the line protocol now",
    "output_queued": "what waits in an output now, in its unit",
    "kernel_drops": "packets the kernel threw away since nobody read in time",
}
_OWN_GAUGES = ("kernel_queue", "flush.lag", "flush.duration", "tcp.clients")


def _own_samples(statistics: ServerStatistics) -> Iterator[tuple[str, str, Labels, Number]]:
    health = statistics.health
    yield COUNTER, "packets", (), health.packets
    yield COUNTER, "metrics", (), health.metrics
    for reason, count in statistics.bad_by_reason.items():
        yield COUNTER, "bad_lines", (("reason", reason),), count
    for kind, count in health.keys.items():
        yield GAUGE, "keys", (("kind", kind),), count
    for name, value in own_values(statistics).items():
        if not name.startswith(("keys.", "outputs.")):
            yield (GAUGE if name in _OWN_GAUGES else COUNTER), metric_name(name), (), value
    for field in ("queued", "sent", "dropped", "resent", "in_doubt", "retries"):
        for output in statistics.outputs:
            kind = GAUGE if field == "queued" else COUNTER
            labels = (("output", output.name), ("unit", output.unit))
            yield kind, f"output_{field}", labels, getattr(output, field)


def _family_text(family: _Family, classic: bool) -> str:
    name, kind = family.name, family.kind
    if classic and kind == COUNTER:
        name += "_total"
    kind = "untyped" if classic and kind == UNKNOWN else kind
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n" + "".join(family.lines)


def _grown(histogram: Histogram | None, flush: Flush, key: str) -> Histogram:
    """With an interval's timings a copy, since a page may be half-way through the old one; without any, itself."""
    samples, fold = flush.samples.get(key), flush.buckets.get(key)
    if histogram is not None and not samples and fold is None:
        return histogram
    grown = Histogram() if histogram is None else attrs.evolve(histogram, counts=histogram.counts.copy())
    count = flush.timer_counts[key]
    if samples:
        grown.add(samples, count // len(samples) if count % len(samples) == 0 else count / len(samples))
    elif fold is not None and fold.n:
        grown.add_fold(fold, count // fold.n if count % fold.n == 0 else count / fold.n)
    return grown


def _mean(flush: Flush, key: str) -> float:
    samples = flush.samples.get(key)
    if samples:
        return sum(samples) / len(samples)
    buckets = flush.buckets.get(key)
    return buckets.mean if buckets is not None else 0.0


def _quantiles(flush: Flush, key: str) -> Iterator[tuple[float, float]]:
    samples = flush.samples.get(key)
    buckets: LogBuckets | None = flush.buckets.get(key)
    for quantile in QUANTILES:
        if samples:
            yield quantile, samples[_rank(len(samples), quantile) - 1]
        elif buckets is not None and buckets.n:
            yield quantile, buckets.at_rank(_rank(buckets.n, quantile))


def _rank(n: int, quantile: float) -> int:
    return max(1, min(n, threshold_rank(n, 100 * quantile)))
