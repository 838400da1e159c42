"""Retention: what it may say, and that a slot holds what one flush of its length would have held."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects import DIALECTS
from brokersim.statsd.flushed import Flush
from brokersim.statsd.slots import Keep, RetentionError, Slots, parse_retention

LINES = st.one_of(
    st.builds("c{}:{}|c".format, st.integers(0, 2), st.integers(-5, 500)),
    st.builds("g{}:{}|g".format, st.integers(0, 2), st.integers(0, 500)),
    st.builds("t{}:{}|ms|@0.5".format, st.integers(0, 2), st.integers(0, 500)),
    st.builds("T:{}|ms".format, st.integers(1, 500)),
)


def seconds(text: str) -> list[tuple[float, float]]:
    return [(keep.step / 1e6, keep.length / 1e6) for keep in parse_retention(text)]


def test_a_retention_is_steps_and_lengths_finest_first_and_may_be_below_a_second():
    assert seconds("0.1s:1d") == [(0.1, 86_400)]
    assert seconds("60s:30d, 1s:1d") == [(1, 86_400), (60, 30 * 86_400)]
    assert seconds("25ms:10m") == [(0.025, 600)]
    assert seconds("10:360") == [(10, 3600)], "Graphite's number of points"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("soon", "is no retention"),
        ("1s", "is no retention"),
        ("0s:1d", "is no step"),
        ("1m:10s", "shorter than one step"),
        ("10s:6h,25s:7d", "must be a multiple"),
        ("10s:6h,10s:7d", "must be a multiple"),
        ("10s:7d,60s:6h", "kept no longer"),
    ],
)
def test_a_retention_that_cannot_be_says_why(text: str, why: str):
    with pytest.raises(RetentionError, match=why):
        parse_retention(text)


def test_a_slot_is_labelled_as_whisper_does_and_times_are_exact():
    keep = Keep(step=100_000, length=1)
    assert [keep.slot(t) for t in (0.3, 0.1 + 0.2, 0.29, 0.999999)] == [300_000, 300_000, 200_000, 900_000]


def slots_of(step_s: float, flushes: list[Flush], dialect: str = "strict") -> list[Flush]:
    slots = Slots(round(step_s * 1e6), dialect, AggregatorConfig())
    done = [slots.add(flush) for flush in flushes] + [slots.end()]
    return [flush for flush in done if flush is not None]


def test_what_becomes_of_each_type_in_a_slot():
    aggregator = Aggregator(config=AggregatorConfig(flush=0.5))
    flushes = []
    for number in range(4):
        aggregator.feed(b"hits:%d|c\nlevel:%d|g\nload:%d|ms\nusers:u%d|s" % (number, number, number, number))
        flushes.append(aggregator.flush(1 + number / 2))
    first, second = slots_of(1, flushes)
    assert (first.t, first.interval, second.t) == (1.0, 1.0, 2.0)
    assert (first.counters, second.counters) == ({"hits": 1}, {"hits": 5})
    assert second.values["counters.hits.rate"] == 5.0
    assert (first.values["gauges.level"], second.values["gauges.level"]) == (1, 3)
    assert (first.values["timers.load.count"], first.values["timers.load.upper"]) == (2, 1.0)
    assert second.values["timers.load.median"] == 2.5
    assert second.values["sets.users.count"] == 1
    assert (first.packets, second.metrics) == (2, 8)


@given(st.lists(st.lists(LINES, max_size=6), min_size=1, max_size=12), st.sampled_from(DIALECTS))
def test_a_slot_holds_what_one_flush_of_its_length_would(intervals: list[list[str]], dialect: str):
    """Three flushes a slot, against an aggregator that is flushed a third as often. Sets have sizes only: left out."""
    intervals += [[]] * (-len(intervals) % 3)
    fine = Aggregator(dialect, AggregatorConfig(flush=1.0))
    coarse = Aggregator(dialect, AggregatorConfig(flush=3.0))
    flushes, expected = [], []
    for number, lines in enumerate(intervals):
        for aggregator in (fine, coarse):
            aggregator.feed("\n".join(lines).encode())
        flushes.append(fine.flush(3.0 + number))
        if number % 3 == 2:
            expected.append(coarse.flush(float(number)))
    found = slots_of(3, flushes, dialect)
    assert [flush.t for flush in found] == [3.0 * (1 + number) for number in range(len(expected))]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values.keys() == theirs.values.keys()
        for name, value in theirs.values.items():
            assert ours.values[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
        assert (ours.counters, ours.gauges, ours.samples) == (theirs.counters, theirs.gauges, theirs.samples)


def test_many_samples_of_a_slot_go_into_buckets_and_none_is_missing():
    aggregator = Aggregator(config=AggregatorConfig(timer_cap=20_000))
    flushes = []
    for number in range(3):
        for values in (range(1, 4501), range(4501, 9001)):
            aggregator.feed(b"\n".join(b"load:%d|ms" % value for value in values))
        flushes.append(aggregator.flush(30.0 + number))
    (slot,) = slots_of(10, flushes)
    assert (slot.timer_counts["load"], slot.approx) == (27_000, {"load"})
    assert slot.values["timers.load.upper"] == 9000
    assert slot.values["timers.load.upper_90"] == pytest.approx(8100, rel=0.01)
    assert math.isclose(slot.values["timers.load.sum"], 3 * 9000 * 9001 / 2)


def test_flushes_no_finer_than_the_step_pass_as_they_are():
    aggregator = Aggregator(config=AggregatorConfig(flush=10.0))
    aggregator.feed(b"hits:3|c")
    flush = aggregator.flush(40.0)
    assert slots_of(10, [flush]) == [flush]
    assert [each.t for each in slots_of(1, [flush, aggregator.flush(50.0)])] == [40.0, 50.0]
