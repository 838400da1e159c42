"""The law's rows of the whole grid, and that nothing drawn decides the advice."""

from __future__ import annotations

import random
from typing import Any

import pytest

from brokersim.lab.measure.price import Price
from brokersim.lab.sweep.advice import advise, settings
from brokersim.lab.sweep.by_law import chain_of, law_rows, phases_of, sent_key
from brokersim.lab.sweep.intervals import Store
from brokersim.lab.sweep.plan_file import JOURNAL, SweepPlan
from brokersim.statsd.law import Chain

#: Packets a second by client period: what a run of 200 jobs sends, but for what the seed makes of it.
SENT = {0.0: 700.0, 0.1: 18.0, 1.0: 10.4}
LOST = {"prepare": 0.027, "check": 0.031, "idle": 0.95}


def rows(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    draw = random.Random(seed)
    combinations = SweepPlan().combinations("bulk", seed)
    prices = {}
    for stream, _ in combinations:
        lost = LOST.get(stream.emission, 0.0002) * draw.uniform(0.9, 1.1)
        prices[stream.emission, stream.period > 0] = Price(kind="predicted", loss=lost, low=lost, high=lost)
    streams = dict.fromkeys(stream for stream, _ in combinations)
    traffic = {
        sent_key(stream): {"packets_per_s": SENT[stream.period] * draw.uniform(0.98, 1.02)}
        for stream in streams
    }
    facts = {"rate": 9.9, "stays": {"new": 0.02, "run": 1.6}, "traffic": traffic}
    return law_rows(combinations, facts, prices), facts


@pytest.mark.parametrize("seed", range(10))
def test_the_advice_is_the_same_whatever_the_seed(seed: int) -> None:
    found, facts = rows(seed)
    advice = advise(found, 0.01, JOURNAL, facts)
    assert settings(found[advice["row"]]) == "timer 0.1s, client 1s, totals, flush 100ms, retention 1s"
    assert (
        settings(found[advice["cheap_store"]]) == "timer 0.1s, client 100ms, totals, flush 1s, retention 1s"
    )
    assert advice["hidden"] == ["new"]


def test_a_row_has_the_laws_seconds_and_the_workloads_jobs() -> None:
    found, _ = rows(0)
    journal = found[0]
    chain = Chain(emission=1, flush=10, retention=60)
    assert (journal["off_s"], journal["lag_s"], journal["worst_s"]) == (chain.age.off, -24.5, chain.worst.off)
    assert journal["jobs_off"] == pytest.approx(9.9 * chain.age.off)
    assert journal["shown"] == {"new": pytest.approx(0.02 / 60), "run": pytest.approx(1.6 / 60)}
    assert journal["writes_per_s"] == 0.1


def test_a_rows_bar_is_where_nine_of_ten_installations_of_its_chain_lie() -> None:
    journal = rows(0)[0][0]
    low, high = Chain(emission=1, flush=10, retention=60).off_within(0.05, 0.95)
    assert phases_of(journal) == {"phase5_s": low, "phase95_s": high}


def test_a_hook_takes_no_time_to_tell() -> None:
    assert chain_of("prepare", 0.0, Store(1.0, 1.0)) == Chain(flush=1, retention=1)
    assert chain_of("timer:2s", 0.1, Store(1.0, 1.0)) == Chain(emission=2, client=0.1, flush=1, retention=1)
