"""Counter deltas against a plain recount, their comparisons, and the words of a difference."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.kit.deltas import Deltas, table
from brokersim.kit.deltas import Partial as partial
from brokersim.kit.expect import approx, at_least, at_most, between
from brokersim.kit.keys import CounterKey, parse_key
from brokersim.protocol.message import COUNTER_NAMES

PARTIES = ((0, "kvs"), (1, "kvs"), (0, "cron"))
MOVES = st.lists(
    st.tuples(st.sampled_from(PARTIES), st.integers(0, 7), st.sampled_from(["a.x", "a.y", "b"])), max_size=40
)


class Books:
    """Stands for the ledger: only its tallies count here."""

    def __init__(self):
        self.tallies = {}

    def note(self, moves):
        for party, counter, topic in moves:
            tally = self.tallies.setdefault(party, {})
            tally[counter, topic] = tally.get((counter, topic), 0) + 1

    def snapshot(self):
        return {party: dict(tally) for party, tally in self.tallies.items()}


def moved(before, during, after, *parties):
    """Deltas over the middle of three phases."""
    books = Books()
    books.note(before)
    deltas = Deltas(books, parties or PARTIES)
    books.note(during)
    deltas.close()
    books.note(after)
    return deltas


@given(MOVES, MOVES, MOVES)
def test_deltas_count_what_moved_between_two_moments(before, during, after):
    deltas = moved(before, during, after)
    plain = Counter(f"{party[1]}.{party[0]}.{COUNTER_NAMES[counter]}" for party, counter, _ in during)
    assert deltas.counts == dict(plain)
    assert deltas == dict(plain)
    by_topic = Counter(
        f"{party[1]}.{party[0]}.{COUNTER_NAMES[counter]}:{topic}" for party, counter, topic in during
    )
    assert deltas.topics == dict(by_topic)


@given(MOVES, MOVES)
def test_two_runs_are_equal_exactly_if_they_moved_the_same(one, other):
    deltas = moved([], one, [])
    expected = moved([], other, []).counts
    same = Counter(move[:2] for move in one) == Counter(move[:2] for move in other)
    assert (deltas == expected) is same
    if not same:
        assert len(deltas.differences) == sum(
            deltas[name] != expected.get(name, 0) for name in {*deltas.counts, *expected}
        )


@given(MOVES)
def test_the_topics_of_a_difference_sum_to_the_count(moves):
    deltas = moved([], moves, [])
    deltas._compare({}, exact=True)
    for item in deltas.differences:
        assert sum(count for _, count in item.topics) == item.got


def test_partial_comparisons_leave_other_counters_free():
    deltas = moved([], [((0, "kvs"), 1, "a")] * 3 + [((0, "kvs"), 2, "a")], [], (0, "kvs"))
    assert deltas == partial({"request_rx": 3})
    assert deltas != partial({"request_rx": 2})
    assert deltas >= {"request_rx": 2}
    assert not deltas >= {"request_rx": 4}
    assert deltas != {"request_rx": 3}
    assert deltas["response_tx"] == 1 and deltas["event_rx"] == 0


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        (at_most(3), (0, 3), (4,)),
        (at_least(3), (3, 99), (2,)),
        (between(2, 4), (2, 4), (1, 5)),
        (approx(100, percent=5), (95, 105), (94, 106)),
        (approx(10, abs=1), (9, 11), (8, 12)),
    ],
)
def test_ranges_equal_the_numbers_in_them(expected, good, bad):
    assert all(number == expected for number in good)
    assert all(number != expected for number in bad)


@pytest.mark.parametrize("wrong", [dict(), dict(percent=1, abs=1), dict(percent=-1)])
def test_an_approximation_needs_one_width(wrong):
    with pytest.raises(ValueError, match="percent=P"):
        approx(3, **wrong)
    with pytest.raises(ValueError, match="no range"):
        between(4, 3)


def test_the_table_of_differences_names_module_rank_type_and_topics():
    deltas = moved([], [((0, "kvs"), 1, "kvs.commit")] * 4 + [((1, "kvs"), 4, "e")], [])
    assert deltas != {"kvs.0.request_rx": 3, "cron.0.event_rx": at_least(1)}
    assert table(deltas.differences) == [
        "module  rank  type        got     expected  diff",
        "cron       0  event_rx      0  at_least(1)    -1",
        "kvs        0  request_rx    4            3    +1",
        "    +4 kvs.commit",
        "kvs        1  event_tx      1            0    +1",
        "    +1 e",
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("request_rx", CounterKey("kvs", 0, "request_rx")),
        ("kvs.3.event_tx", CounterKey("kvs", 3, "event_tx")),
        ("my.module.0.response_rx", CounterKey("my.module", 0, "response_rx")),
        ("kvs.0.request_rx:kvs.commit", CounterKey("kvs", 0, "request_rx", "kvs.commit")),
    ],
)
def test_counters_are_named_short_and_long(text, key):
    assert parse_key(text, (0, "kvs")) == key
    assert parse_key(str(key)) == key


@pytest.mark.parametrize("text", ["requests", "kvs.request_rx", "kvs.x.request_rx", "", "request_rx"])
def test_a_name_that_is_no_counter_is_refused_with_one_that_is(text):
    with pytest.raises(ValueError, match=r"request_rx|several"):
        parse_key(text)


def test_what_was_not_watched_cannot_be_compared():
    deltas = moved([], [], [], (0, "kvs"))
    with pytest.raises(
        ValueError, match=r"cron\.0\.request_rx was not watched; deltas\(\.\.\.\) watched kvs\.0"
    ):
        _ = deltas == partial({"cron.0.request_rx": 1})
    with pytest.raises(ValueError, match=r"compare \.topics"):
        _ = deltas == partial({"request_rx:kvs.commit": 1})
