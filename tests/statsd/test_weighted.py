"""Percentiles that heed sample rates: a timing sent with a rate is as many timings as it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.stored.timers import MAX_COPIES

WEIGHTED = AggregatorConfig(weighted_timers=True, percentiles=(50, 90, -10))
TIMINGS = st.lists(st.tuples(st.integers(0, 99), st.sampled_from([1, 2, 4, 10, 50])), min_size=1, max_size=30)


@given(TIMINGS, st.sampled_from(["strict", "etsy"]))
def test_a_rate_says_what_as_many_lines_without_one_would(timings: list[tuple[int, int]], dialect: str):
    weighted, written_out = Aggregator(dialect, WEIGHTED), Aggregator(dialect, WEIGHTED)
    # Twice: the second time the form of each line is known.
    for flush in (1.0, 2.0):
        for value, weight in timings:
            weighted.feed(b"t:%d|ms|@%b" % (value, repr(1 / weight).encode()))
            for _ in range(weight):
                written_out.feed(b"t:%d|ms" % value)
        ours, theirs = weighted.flush(flush), written_out.flush(flush)
        wanted = {name: value for name, value in theirs.values.items() if name.startswith("timers.")}
        assert {name: ours.values[name] for name in wanted} == pytest.approx(wanted)
        assert ours.samples == theirs.samples


def test_without_the_option_a_rate_is_in_the_count_alone():
    aggregator = Aggregator(config=AggregatorConfig(percentiles=(50,)))
    aggregator.feed(b"t:1|ms|@0.1\nt:9|ms\nt:9|ms")
    values = aggregator.flush(1.0).values
    assert (values["timers.t.count"], values["timers.t.upper_50"], values["timers.t.mean"]) == (12, 9, 19 / 3)


@pytest.mark.parametrize("lines", [[b"t:1|ms|@0.4"] * 4, [b"t:1:1:1:1|ms|@0.4"]])
def test_what_a_rate_leaves_over_goes_to_the_next_sample(lines: list[bytes]):
    aggregator = Aggregator(config=WEIGHTED)
    for flush in (1.0, 2.0):
        for line in lines:
            aggregator.feed(line)
        shown = aggregator.flush(flush)
        assert (len(shown.samples["t"]), shown.timer_counts["t"]) == (10, 10)


def test_no_rate_makes_more_copies_than_a_bound_and_the_count_is_whole():
    aggregator = Aggregator(config=WEIGHTED)
    aggregator.feed(b"t:1|ms|@1e-9")
    shown = aggregator.flush(1.0)
    assert (len(shown.samples["t"]), shown.timer_counts["t"]) == (MAX_COPIES, pytest.approx(1e9))


def test_copies_beyond_the_cap_are_folded_away_at_once():
    aggregator = Aggregator(config=WEIGHTED)
    most = 0
    for number in range(100):
        aggregator.feed(b"t:%d|ms|@0.001" % (number + 1))
        held = aggregator.table("timers")["t"]
        assert isinstance(held, list)
        most = max(most, len(held))
    shown = aggregator.flush(1.0)
    assert (most, shown.approx, shown.timer_counts["t"]) == (20_000, {"t"}, 100_000)
    assert shown.values["timers.t.upper_50"] == pytest.approx(50, rel=0.01)
