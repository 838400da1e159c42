"""The law of intervals, against sums of uniform draws, written-out small cases and a store that is played through."""

from __future__ import annotations

import random
from math import gcd
from statistics import fmean, pstdev

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.statsd.law import US, Age, Chain
from tests.effort import examples

#: The table of the study: E|A| in s by flush, retention and (emission, client).
MEASURED = [
    (10, 60, (25.5, 25.5, 25.1, 25.1, 24.7)),
    (10, 10, (3.34, 3.34, 3.38, 3.38, 3.46)),
    (10, 1, (4.53, 4.63, 5.06, 5.01, 5.50)),
    (1, 1, (0.334, 0.346, 0.621, 0.586, 1.02)),
    (0.1, 1, (0.453, 0.375, 0.345, 0.340, 0.620)),
]
UPSTREAM = ((0, 0), (0.1, 0.1), (0.1, 1), (1, 0), (1, 1))
PERIOD = st.sampled_from([0.1, 0.3, 1.0, 2.0, 7.0])
chains = st.builds(
    Chain, emission=st.sampled_from([0.0, 0.025, 1.0]), client=st.sampled_from([0.0, 0.1, 1.0]), flush=PERIOD,
    retention=PERIOD,
)  # fmt: skip


@pytest.mark.parametrize(("flush", "retention", "wanted"), MEASURED)
def test_the_error_in_seconds_is_what_an_independent_study_measured(
    flush: float, retention: float, wanted: tuple[float, ...]
) -> None:
    found = [
        Chain(emission=emission, client=client, flush=flush, retention=retention).age.off
        for emission, client in UPSTREAM
    ]
    assert found == pytest.approx(wanted, rel=0.02)


@given(chain=chains)
@settings(max_examples=6, deadline=None)
def test_every_figure_of_an_age_is_that_of_a_sum_of_uniform_draws(chain: Chain) -> None:
    source = random.Random(1)
    age = chain.age
    drawn = sorted(
        (source.uniform(0, chain.emission) + source.uniform(0, chain.client) + source.uniform(0, chain.flush))
        - source.uniform(0, chain.retention)
        for _ in range(5_000)
    )
    near = 0.03 * (age.high - age.low) / US
    assert age.mean == pytest.approx(fmean(drawn), abs=near)
    assert age.spread == pytest.approx(pstdev(drawn), rel=0.03)
    assert age.off == pytest.approx(fmean(map(abs, drawn)), abs=near)
    assert age.residual == pytest.approx(fmean(abs(one - age.mean) for one in drawn), abs=near)
    for share in (0.05, 0.5, 0.95):
        assert age.quantile(share) == pytest.approx(drawn[int(share * len(drawn))], abs=near)
    assert age.expected(lambda us: abs(us) / US, 400) == pytest.approx(age.off, abs=near)


def test_periods_of_very_different_length_do_not_cancel_each_other() -> None:
    """In floating point the terms are 1e24 here, and what is wanted is 43,200."""
    age = Chain(emission=0.001, client=0.001, flush=0.01, retention=86_400).age
    assert age.off == pytest.approx(43_200, rel=1e-6)
    assert age.quantile(0.5) == pytest.approx(-43_200, rel=1e-6)


def test_an_age_without_parts_is_its_shift() -> None:
    still = Age(-2 * US, (0, 0))
    assert (still.mean, still.off, still.residual, still.quantile(0.95)) == (-2, 2, 0, -2)
    assert still.expected(lambda us: us, 5) == -2 * US


@pytest.mark.parametrize(
    ("periods", "locked"),
    [
        ((1, 1, 10, 10), ("emission", "client", "flush")),
        ((1, 1, 0.1, 0.1), ("emission", "flush")),
        ((0.5, 0.3, 1, 1), ("flush",)),
        ((0.1, 0.3, 2, 7), ()),
        ((0, 1, 2, 7), ()),
        ((0.3, 0, 2, 7), ()),
    ],
)
def test_a_stage_stands_still_against_the_one_that_looks_at_it(
    periods: tuple[float, float, float, float], locked: tuple[str, ...]
) -> None:
    emission, client, flush, retention = periods
    assert Chain(emission=emission, client=client, flush=flush, retention=retention).locked == locked


def played(chain: Chain, at: dict[str, int], looks: int = 1500) -> list[int]:
    """Ages (µs) of what is drawn at evenly spread times, from stages that are simulated one tick after the other."""
    emission, client, flush, retention = (round(US * one) for one in attrs.astuple(chain))
    found = []
    for number in range(looks):
        # Steps of the golden section are even over every slot and every flush.
        t = round(number * 1.618033988749895 * retention)
        slot_end = (t // retention + 1) * retention
        # The last flush before the slot ends; without one in this slot, the newest that another slot keeps.
        if flush <= retention:
            flushed = (slot_end - at["flush"] - 1) // flush * flush + at["flush"]
        else:
            newest = (t - at["flush"]) // flush * flush + at["flush"]
            coming = newest + flush
            flushed = coming if coming < slot_end else newest
        sent = (flushed - at["client"]) // client * client + at["client"] if client else flushed
        told = (sent - at["emission"]) // emission * emission + at["emission"] if emission else sent
        found.append(t - told)
    return found


def unevenness(chain: Chain) -> float:
    """How far (s) mean ages may lie from those of even ones, because a stage is looked at in steps.

    Its ages are then multiples of what its period and the step have in common, and begin anywhere within one: half of
    that is the most. A stage that is locked has one age, and is no matter of this.
    """
    emission, client, flush, retention = (round(US * one) for one in attrs.astuple(chain))
    step, common = max(flush, retention), 0
    for period in (client, emission):
        if period and step % period:
            common, step = common + gcd(step, period), period
    return common / 2 / US


@given(chain=chains, phases=st.tuples(*[st.floats(0, 0.99)] * 3))
@settings(max_examples=examples(200), deadline=None)
@example(Chain(emission=1.0, client=1.0, flush=0.1, retention=0.1), (0.25, 0.0, 0.0))
@example(Chain(emission=1.0, client=1.0, flush=0.3, retention=0.7), (0.01, 0.0, 0.0))
@example(Chain(emission=0.5, client=0.3, flush=1.0, retention=1.0), (0.9, 0.9, 0.9))
def test_a_chain_that_is_played_through_is_never_off_by_more_than_its_worst_phase(
    chain: Chain, phases: tuple[float, ...]
) -> None:
    periods = {"emission": chain.emission, "client": chain.client, "flush": chain.flush}
    at = {
        name: round(share * period * US)
        for share, (name, period) in zip(phases, periods.items(), strict=True)
    }
    ages = played(chain, at)
    off = fmean(map(abs, ages)) / US
    if chain.locked:
        assert off <= chain.worst.off * 1.02 + 0.01 + unevenness(chain)
    assert chain.age.low <= min(ages)
    assert max(ages) <= chain.age.high


@pytest.mark.parametrize(
    ("retention", "flush", "age", "mean", "spread"),
    [(1, 1, 0.98, 0.585, 0.294), (1, 5, 1.0, 2.585, 1.445), (10, 1, 1.0, -3.866, 2.887), (10, 5, 4.0, -0.866, 2.887)],
)  # fmt: skip
def test_the_locked_form_is_what_real_statsd_and_carbon_showed(
    retention: float, flush: float, age: float, mean: float, spread: float
) -> None:
    """A ramp told every 0.2 s; ``age`` is how old the last flush was at its slot's end there."""
    chain = Chain(emission=0.2, flush=flush, retention=retention)
    found = chain.at_phase((0.1, age))
    assert found.mean == pytest.approx(mean, abs=0.2)
    assert found.spread == pytest.approx(spread, rel=0.02)


def test_what_divides_the_slots_stands_still_against_them_and_what_does_not_drifts() -> None:
    assert Chain(emission=1, client=0.1, flush=10, retention=60).locked == ("emission", "client", "flush")
    assert Chain(emission=0.7, flush=10, retention=60).locked == ("flush",)
    assert Chain(emission=1, flush=7, retention=60).locked == ()
    assert Chain(flush=10, retention=1).locked == ("flush",)


def test_the_worst_phase_is_off_by_more_than_the_mean_and_aligned_flushes_take_the_flushs_luck_out() -> None:
    chain = Chain(flush=1, retention=1)
    assert (chain.age.off, chain.worst.off, chain.aligned.off) == pytest.approx((1 / 3, 0.5, 0.5))
    assert chain.aligned == chain.at_phase((0.0,))
    slow = Chain(flush=10, retention=1)
    assert slow.aligned.off == pytest.approx(4.1, abs=0.01)
    assert slow.worst.off == pytest.approx(5.0, abs=0.01)
    assert Chain(flush=7, retention=60).worst.off < Chain(flush=7, retention=60).age.off * 1.3


def test_nine_of_ten_installations_lie_within_the_phases_that_are_likely() -> None:
    # A = g - U(0, 1) with g in [0, 1): E|A| = (g² + (1 - g)²) / 2, from .25 in the middle to .5 at both ends.
    low, high = Chain(flush=1, retention=1).off_within(0.05, 0.95)
    assert low == pytest.approx(0.25, abs=0.002)
    assert high == pytest.approx((0.975**2 + 0.025**2) / 2, abs=0.01)
    drifting = Chain(flush=7, retention=60)
    assert drifting.off_within(0.05, 0.95) == (drifting.age.off, drifting.age.off)
    journal = Chain(emission=1, flush=10, retention=60)
    low, high = journal.off_within(0.05, 0.95)
    assert low < journal.age.off < high < journal.worst.off


def test_a_state_is_shown_in_as_many_of_its_visits_as_it_lasts_of_the_slowest_stage() -> None:
    chain = Chain(emission=1, flush=10, retention=60)
    assert (chain.shown(0), chain.shown(6), chain.shown(90)) == (0, 0.1, 1)


@pytest.mark.parametrize(
    ("periods", "says"),
    [
        ({"flush": 0, "retention": 1}, "flush is 0 s; a server flushes"),
        ({"flush": 1, "retention": 0}, "retention is 0 s"),
        ({"flush": 1, "retention": 1, "client": -1}, "client is -1 s; it must be 0 or more"),
        ({"flush": float("inf"), "retention": 1}, "flush is inf s"),
    ],
)
def test_a_chain_that_cannot_be_says_why(periods: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Chain(**periods)
