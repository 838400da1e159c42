"""Loads and stores: a start per entry beside one slot for all, exact percentiles beside those of windows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.experiments.latency import Plan, latency, quantile
from brokersim.lab.result import Result


@pytest.fixture(scope="module")
def found() -> Result:
    return latency(Plan(jobs=120, cache_bytes=1 << 20))


def test_more_loads_than_the_journal_had_are_explained() -> None:
    (ratio,) = (
        one
        for one in latency(Plan(jobs=150, run_time=2.0, cache_bytes=0, timings=("entry",))).checks
        if one.id == "J12 a"
    )
    assert not ratio.ok
    assert "1.7 loads a job, of what was purged from 0 MiB while it waited" in ratio.why


def row(found: Result, timing: str, kind: str) -> Result:
    return next(one for one in found.runs if (one["timing"], one["operation"]) == (timing, kind))


def test_what_the_journal_found_comes_out(found: Result) -> None:
    assert found.failed() == []


def test_one_slot_hides_most_of_the_time_stores_take_when_many_are_under_way(found: Result) -> None:
    entry, aux = row(found, "entry", "store"), row(found, "aux", "store")
    assert entry["count"] == aux["count"] > 1000
    assert entry["in_flight_max"] == aux["in_flight_max"] > 100
    for figure in ("mean", "p50", "p95", "p99", "max"):
        assert aux[figure] <= entry[figure]
    assert aux["mean"] < 0.5 * entry["mean"]


def test_the_windows_percentiles_are_not_the_samples(found: Result) -> None:
    entry = row(found, "entry", "store")
    assert entry["p99_windows"] != entry["p99"]
    assert entry["min"] <= entry["p50"] <= entry["p95"] <= entry["p99"] <= entry["max"]


def test_the_series_count_every_sample(found: Result) -> None:
    per_second = [v for _, v in found.series["entry"]["store"]["count_ps"]]
    assert sum(per_second) == row(found, "entry", "store")["count"]


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=50), st.sampled_from([0.5, 0.75, 0.95, 0.98, 0.99, 1.0])
)
def test_a_quantile_is_the_smallest_value_that_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    values.sort()
    got = quantile(values, share)
    enough = [v for v in values if sum(one <= v for one in values) >= share * len(values) - 1e-9]
    assert got == min(enough)


def test_the_same_seed_gives_the_same_bytes() -> None:
    plan = Plan(jobs=4, seed=2, timings=("entry",))
    first, second = (json.dumps(latency(plan).to_json()) for _ in range(2))
    assert first == second
