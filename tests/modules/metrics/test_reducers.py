"""The laws of every reducer: neutral start, the shape of the tree does not matter, states are JSON; their bounds."""

from __future__ import annotations

import math
import random
from collections import Counter as Tally
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.metrics.reducers import REDUCERS, Origin, Reducer, reducer
from modules.metrics.reducers.base import STATE_MAX, TOO_LARGE
from tests.effort import examples

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(-1e150, 1e150, allow_nan=False),
    st.integers(-3, 3),
    st.floats(-2, 2),
)
TEXTS = st.one_of(NUMBERS, st.text(max_size=5))
#: Parameters that make bounds bite in small cases, and the plain ones.
PARAMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in REDUCERS),
    ("unique", {"unique_max": 3}),
    ("hll_unique", {"hll_error_margin": 0.2}),
    ("topk", {"topk_size": 3}),
    ("sample", {"num_samples": 2}),
    ("sample", {"num_samples": 0}),
    ("last", {"num_last_elements": 2}),
    ("last", {"num_last_elements": 0}),
    ("histogram", {"bounds": [-1, 0, 1.5]}),
    ("quantile", {"max_bins": 16, "alpha": 0.2}),
]
#: States that agree within 1e-9 instead of to the bit, and those whose guarantee holds and not the state.
MOMENTS = ("average", "variance", "std_dev")


def is_exact(one: Reducer, total: int) -> bool:
    return one.name not in MOMENTS and not (one.name == "topk" and total > one.size)  # type: ignore[attr-defined]


class Rank:
    """Counts on one rank; its own clock ticks at each observation."""

    def __init__(self, one: Reducer, rank: int) -> None:
        self.now = 0.0
        origin = Origin(rank, random.Random(rank), lambda: self.now)
        self.counter = one.counter(origin)

    def state(self, values: list[Any], start: float = 0.0) -> Any:
        for at, value in enumerate(values):
            self.now = start + at
            self.counter.add(value)
        return self.counter.state()


def merged_by(tree: Any, one: Reducer, states: list[Any]) -> Any:
    """``tree``: random choices of which two are merged next."""
    states = list(states)
    while len(states) > 1:
        first = states.pop(tree.randrange(len(states)))
        at = tree.randrange(len(states))
        states[at] = one.merged(first, states[at])
    return states[0]


def close(a: Any, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return a == b


@pytest.mark.parametrize(("name", "params"), PARAMS)
@given(parts=st.lists(st.lists(TEXTS, max_size=8), min_size=1, max_size=6), seed=st.integers(0, 1000))
@settings(max_examples=examples(12), deadline=None)
def test_any_tree_of_merges_gives_the_same_answer(name, params, parts, seed):
    one = reducer(name, params)
    if not one.takes_text:
        parts = [[1 if isinstance(value, str) else value for value in part] for part in parts]
    if name in MOMENTS:
        parts = [[min(max(value, -1e6), 1e6) for value in part] for part in parts]
    states = [Rank(one, rank).state(part) for rank, part in enumerate(parts)]
    plain = msgspec.json.decode(msgspec.json.encode(states))
    assert plain == [msgspec.json.decode(msgspec.json.encode(state)) for state in states]
    chain = reduce(one.merged, plain)
    other = merged_by(random.Random(seed), one, plain)
    shown, again = one.finished(chain), one.finished(other)
    if is_exact(one, sum(map(len, parts))):
        assert msgspec.json.encode(chain) == msgspec.json.encode(other)
        assert shown == again
    elif name in MOMENTS:
        assert close(shown[name], again[name])


@pytest.mark.parametrize(("name", "params"), PARAMS)
@given(values=st.lists(TEXTS, max_size=12))
@settings(max_examples=8, deadline=None)
def test_nothing_is_neutral_and_the_initial_state_is_too(name, params, values):
    one = reducer(name, params)
    if not one.takes_text or name in MOMENTS:
        values = [1 if isinstance(value, str) else min(max(value, -1e6), 1e6) for value in values]
    state = Rank(one, 0).state(values)
    assert one.merged(None, state) == one.merged(state, None) == state
    if values and one.initial is not None:
        found = msgspec.json.decode(msgspec.json.encode(one.merge(one.initial, state)))
        assert found == msgspec.json.decode(msgspec.json.encode(state))
    assert one.finished(None) == one.finished(Rank(one, 0).state([]))


@pytest.mark.parametrize(("name", "params"), PARAMS)
@given(values=st.lists(TEXTS, min_size=1, max_size=12))
@settings(max_examples=8, deadline=None)
def test_one_more_observation_is_a_merge_with_it_alone(name, params, values):
    one = reducer(name, params)
    if name == "sample":
        return  # draws its numbers in order
    if not one.takes_text or name in MOMENTS:
        values = [1 if isinstance(value, str) else min(max(value, -1e6), 1e6) for value in values]
    rank = Rank(one, 0)
    *before, last = values
    state = rank.state(before)
    both = rank.state([last], start=len(before))
    alone = Rank(one, 0).state([last], start=len(before))
    if name == "last":
        for entries in (both, alone):
            for entry in entries:
                entry[2] = 0  # its serial number is its own
        for entry in state:
            entry[2] = 0
    merged = one.merged(state, alone)
    if is_exact(one, len(values)):
        assert msgspec.json.encode(both) == msgspec.json.encode(merged)
    elif name in MOMENTS:
        assert all(map(close, both, merged))


@given(parts=st.lists(st.lists(st.floats(-1e150, 1e150), max_size=20), min_size=2, max_size=5))
@settings(max_examples=examples(25), deadline=None)
def test_a_sum_of_floats_is_exact_whatever_the_order(parts):
    one = reducer("sum", {})
    whole = Rank(one, 0).state([value for part in parts for value in part])
    assert reduce(one.merged, [Rank(one, 0).state(part) for part in parts]) == whole
    # What is whole is kept as a whole number, which may have more digits than a float.
    assert float(one.finish(whole)["sum"]) == math.fsum(value for part in parts for value in part)


def test_a_sum_of_tenths_does_not_depend_on_who_begins():
    one = reducer("sum", {})
    states = [Rank(one, 0).state([value]) for value in (0.1, 0.2, 0.3)]
    left = one.merged(one.merged(states[0], states[1]), states[2])
    assert left == one.merged(states[0], one.merged(states[1], states[2]))
    assert (0.1 + 0.2) + 0.3 != 0.1 + (0.2 + 0.3)
    assert one.finish(left)["sum"] == math.fsum([0.1, 0.2, 0.3])


def test_a_sum_of_integers_is_exact_beyond_64_bits():
    one = reducer("sum", {})
    state = Rank(one, 0).state([2**62, 2**62, 2**62, 1])
    msgspec.json.encode(state)
    assert int(one.finish(one.merged(state, Rank(one, 0).state([-3 * 2**62])))["sum"]) == 1


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300), st.integers(0, 1))
@settings(max_examples=examples(25), deadline=None)
def test_quantiles_are_within_alpha_of_the_value_at_their_rank(values, sign):
    values = [-value if sign else value for value in values]
    one = reducer("quantile", {})
    shown = one.finish(Rank(one, 0).state(values))
    ordered = sorted(values)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        exact = ordered[math.floor(share * (len(values) - 1))]
        assert abs(shown[name] - exact) <= 0.01 * abs(exact) + 1e-9


def test_quantiles_with_too_many_bins_keep_the_upper_end_and_say_so():
    one = reducer("quantile", {"max_bins": 64})
    values = [1.5**at for at in range(200)]
    shown = one.finish(Rank(one, 0).state(values))
    assert shown["quantile_collapsed"] is True
    assert abs(shown["p99"] - values[197]) <= 0.01 * values[197]
    few = one.finish(Rank(one, 0).state(values[:50]))
    assert "quantile_collapsed" not in few


@given(
    parts=st.lists(st.lists(st.integers(0, 30), max_size=40), min_size=1, max_size=6), seed=st.integers(0, 99)
)
@settings(max_examples=examples(40), deadline=None)
def test_the_most_frequent_are_bounded_from_both_sides_for_any_tree(parts, seed):
    one = reducer("topk", {"topk_size": 8})
    true = Tally(value for part in parts for value in part)
    state = merged_by(random.Random(seed), one, [Rank(one, 0).state(part) for part in parts])
    assert len(state) <= 8
    for value, count, epsilon in state:
        assert count - epsilon <= true[value] <= count
    if len(state) == 8:  # what is not listed is rarer than the last
        assert all(true[value] <= state[-1][1] for value in true.keys() - {entry[0] for entry in state})


@pytest.mark.parametrize("size", [1, 8, 100, 20_000])
def test_hyperloglog_is_exact_when_small_and_within_three_errors(size):
    one = reducer("hll_unique", {})
    half = Rank(one, 0).state([f"v{at}" for at in range(size // 2 + 1)])
    rest = Rank(one, 1).state([f"v{at}" for at in range(size // 3, size)])
    found = one.finish(one.merged(half, rest))["hll_unique"]
    assert found == size if size <= 100 else abs(found - size) <= 3 * 0.0081 * size


def test_a_set_with_a_maximum_is_exact_up_to_it_and_saturated_beyond():
    one = reducer("unique", {"unique_max": 100})
    full = one.merged(Rank(one, 0).state(range(60)), Rank(one, 1).state(range(40, 100)))
    assert one.finish(full) == {"unique": 100}
    shown = one.finish(one.merged(full, Rank(one, 2).state(range(1000))))
    assert (shown["unique"], shown["unique_saturated"]) == (100, True)
    assert 700 <= shown["unique_estimate"] <= 1300


def test_equal_values_of_other_types_are_one_and_texts_are_not_numbers():
    one = reducer("unique", {})
    assert one.finish(Rank(one, 0).state([1, 1.0, "1", "1"]))["unique"] == 2


def test_a_sample_is_fair_to_both_sides():
    one = reducer("sample", {"num_samples": 3})
    picked: Tally[int] = Tally()
    for trial in range(1000):
        parts = (range(7), range(7, 10))
        states = []
        for at, part in enumerate(parts):
            counter = one.counter(Origin(at, random.Random(2 * trial + at)))
            for value in part:
                counter.add(value)
            states.append(counter.state())
        picked.update(one.finish(one.merged(*states))["samples"])
    # 300 expected of each, deviation 14.5.
    assert all(240 <= picked[value] <= 360 for value in range(10))


def test_the_last_are_those_by_time_over_all_ranks():
    one = reducer("last", {"num_last_elements": 3})
    states = [Rank(one, rank).state(["a", "b", "c"], start=start) for rank, start in ((0, 0.0), (1, 0.5))]
    assert one.finish(one.merged(*states)) == {"last": ["b", "c", "c"]}


def test_a_state_that_outgrows_its_bound_is_given_up_by_name():
    one = reducer("unique", {})
    small = Rank(one, 0).state(["x"])
    large = [f"{at:0>100}" for at in range(STATE_MAX // 103 + 1)]
    assert one.bounded(large) == TOO_LARGE
    assert one.merged(large[: len(large) // 2 + 9], large[len(large) // 2 - 9 :]) == TOO_LARGE
    assert one.merged(small, TOO_LARGE) == TOO_LARGE
    assert one.finished(TOO_LARGE) == {"unique": None, "unique_too_large": True}


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("summ", {}, "no reducer 'summ'; did you mean sum?"),
        ("zzz", {}, "no reducer 'zzz'; there are sum, average"),
        ("unique", {"unique_max": 0}, "unique_max is a whole number from 1 to 50000, not 0"),
        ("topk", {"topk_size": 1.5}, "topk_size is a whole number"),
        ("topk", {"topk_size": True}, "topk_size is a whole number"),
        ("hll_unique", {"hll_error_margin": 1}, "hll_error_margin is above 0 and at most 0.26, not 1"),
        ("hll_unique", {"hll_error_margin": 0.001}, r"would take 2\^21 registers; .0021 is the least"),
        ("quantile", {"alpha": 0}, "alpha is above 0"),
        ("quantile", {"alpha": 1e-5}, "alpha is 0.0001 or more"),
        ("quantile", {"max_bins": 3}, "max_bins is a whole number from 16"),
        ("histogram", {"bounds": [2, 1]}, "bounds are 1 to 1000 ascending numbers"),
        ("histogram", {"bounds": []}, "bounds are 1 to 1000 ascending numbers"),
        ("histogram", {"bounds": ["a"]}, "bounds are 1 to 1000 ascending numbers"),
    ],
)
def test_what_a_reducer_cannot_be_is_told(name, params, says):
    with pytest.raises(ValueError, match=says):
        reducer(name, params)
