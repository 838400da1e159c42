"""The front, the price and the advice, each against a definition written out."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.measure import price as price_module
from brokersim.lab.measure.pipeline import STYLES
from brokersim.lab.measure.price import Price, bootstrap, of_rounds, predicted, real
from brokersim.lab.result import Result
from brokersim.lab.sweep.advice import STURDIEST, advise, overhead
from brokersim.lab.sweep.front import combine, front

FIGURE = st.integers(0, 6)


def row(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = dict(
        workload="bulk", seed=0, emission="timer:1s", period=0.0, style="absolute", flush=1.0, retention=1.0,
        dialect="strict", loss=0.0, error=0.02, errors=[0.02, 0.02], error_worst=0.02, error_drawn=0.02, max_error=0.5,
        bias=0.0, gap=0.0, visits_missed=0.0, packets=10, packets_per_s=1.0, bytes_per_s=100.0, negatives=0, lowest=0,
        sum_error=0, missed_longest_s=0.1, final_error=0.0, states_error=0.02, counters_error=None, lag_s=None,
        lag_error=None, law_error=0.02, law_lag_s=0.0, missed=["depend"], series={"a": 0.02}, timers={},
    )  # fmt: skip
    return given | changes


# -- front


@given(figures=st.lists(st.tuples(FIGURE, FIGURE), max_size=12))
def test_the_front_is_what_nothing_dominates(figures: list[tuple[int, int]]):
    rows = [{"off_s": error, "writes_per_s": price} for error, price in figures]

    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one != other and one[0] <= other[0] and one[1] <= other[1]

    wanted = {at for at, figure in enumerate(figures) if not any(beats(other, figure) for other in figures)}
    found = front(rows, "writes_per_s")
    assert set(found) == wanted
    assert [rows[at]["writes_per_s"] for at in found] == sorted(rows[at]["writes_per_s"] for at in found)


def test_rows_of_one_combination_become_one_with_means_of_errors_and_the_worst_of_faults():
    found = combine(
        [row(error=0.02, errors=[0.01, 0.03], negatives=2, seed=0), row(retention=60.0),
         row(error=0.04, errors=[0.03, 0.05], negatives=1, lowest=-3, seed=1, missed=["new"])]
    )  # fmt: skip
    assert [one["retention"] for one in found] == [1.0, 60.0]
    assert (found[0]["error"], found[0]["errors"]) == (0.03, [0.02, 0.04])
    assert (found[0]["negatives"], found[0]["lowest"], found[0]["missed"]) == (3, -3, ["depend", "new"])
    assert [one["seed"] for one in found[0]["runs"]] == [0, 1]


# -- price


@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=9),
    seed=st.text(max_size=3),
)
def test_a_bootstrap_interval_lies_within_the_values_and_around_their_median(values: list[float], seed: str):
    low, high = bootstrap(values, seed)
    assert min(values) <= low <= high <= max(values)
    assert (low, high) == bootstrap(values, seed)
    if len(values) > 1:
        assert low <= median(values) <= high


def test_a_real_price_pairs_each_round_with_its_own_run_without_metrics():
    rounds = [
        {"none": {"wall_s": 1.0, "cpu_s": 1.0}, "idle": {"wall_s": 2.0, "cpu_s": 3.0}},
        {"none": {"wall_s": 2.0, "cpu_s": 2.0}, "idle": {"wall_s": 4.0, "cpu_s": 6.0}},
    ]
    assert of_rounds("idle", rounds, 0) == Price(kind="real", loss=0.5, low=0.5, high=0.5, cpu=2.0)


def test_real_rounds_run_every_emission_and_none_once_in_an_order_of_the_seed(
    monkeypatch: pytest.MonkeyPatch,
):
    ran: list[str] = []

    def fake(plan: Any) -> Result:
        assert (plan.clock, plan.reps) == ("real", 1)
        ran.append(plan.hooks[0])
        run = {"wall_s": 1.0 if plan.hooks == ("none",) else 1.25, "cpu_s": 1.0}
        return Result(meta={}, parts={"runs": [run]})

    monkeypatch.setattr(price_module, "watchers", fake)
    found = real(("prepare", "idle", "check"), jobs=5, seed=1, reps=4)
    assert found["idle"].loss == pytest.approx(0.2)
    rounds = [ran[at : at + 4] for at in range(0, 16, 4)]
    assert all(sorted(each) == ["check", "idle", "none", "prepare"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_predicted_prices_have_the_journals_order_and_a_client_takes_the_packets_out_of_them():
    at_once = predicted(("timer:1s", "prepare", "idle"), jobs=8, seed=0)
    assert 0 <= at_once["timer:1s"].loss < at_once["prepare"].loss < at_once["idle"].loss < 1
    assert predicted(("prepare",), jobs=8, seed=0, aggregated=True)["prepare"].loss < at_once["prepare"].loss


# -- advice

JOURNAL = {"emission": "timer:1s", "retention": 60.0}
FACTS: dict[str, Any] = {"rate": 10.0, "stays": {"new": 0.0, "run": 2.0, "cleanup": 0.1}}


def priced(**changes: Any) -> dict[str, Any]:
    """A row of the law."""
    given: dict[str, Any] = dict(
        emission="timer:1s", period=0.0, style="totals", flush=1.0, retention=1.0, dialect="strict", loss=0.0,
        off_s=0.3, p5_s=-0.6, p95_s=0.6, worst_s=0.5, jobs_off=3.0, packets_per_s=100.0, writes_per_s=1.0,
        overhead=0.0002, overhead_low=0.0002, overhead_high=0.0002, overhead_kind="predicted",
    )  # fmt: skip
    return given | changes


def advice(*rows: dict[str, Any]) -> dict[str, Any]:
    return advise([row | {"id": at} for at, row in enumerate(rows)], 0.01, JOURNAL, FACTS)


def test_of_what_ties_the_fewest_packets_win_and_the_fewest_writes_are_told_beside() -> None:
    least = priced(off_s=0.300)
    near = priced(off_s=0.314, packets_per_s=10.0, writes_per_s=10.0, flush=0.1)
    far = priced(off_s=0.316, packets_per_s=1.0, writes_per_s=0.1, flush=10.0)
    found = advice(least, near, far)
    assert (found["row"], found["cheap_store"], found["ties"]) == (1, 0, [0, 1])
    assert "Stores least: timer 1s, totals, flush 1s, retention 1s: 1 writes/s a series" in found["sentence"]


def test_packets_that_differ_by_chance_are_one_price_and_the_slower_timer_wins() -> None:
    found = advice(
        priced(emission="timer:25ms", packets_per_s=10.0), priced(emission="prepare", packets_per_s=9.9),
        priced(emission="timer:0.1s", packets_per_s=10.3),
    )  # fmt: skip
    assert found["row"] == 2
    assert advice(priced(emission="prepare"), priced(emission="check"))["row"] == 0


def test_of_equal_rows_the_style_that_heals_after_a_loss_is_advised() -> None:
    styles = ("increments-nonzero", "totals", "absolute")
    assert advice(*(priced(style=style) for style in styles))["row"] == 2
    assert set(STURDIEST) == set(STYLES)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"style": "increments"}, "increments that drift"),
        ({"style": "increments-nonzero", "loss": 0.01}, "increments that lost packets shift"),
        ({"overhead": 0.5}, "overhead above the budget"),
    ],
)
def test_a_faulty_row_is_never_advised_however_small_its_error(fault: dict[str, Any], name: str) -> None:
    bad = priced(off_s=0.001, **fault)
    found = advice(bad, priced(flush=10.0))
    assert found["row"] == 1
    assert found["excluded"][name] == 1
    alone = advice(bad)
    assert alone["row"] is None
    assert alone["sentence"] == f"No combination qualifies: of 1, 1 for {name}."


def test_a_state_that_lasts_less_than_the_error_is_named_and_hiding_it_wins_nothing() -> None:
    found = advice(priced())
    assert found["hidden"] == ["new", "cleanup"]
    assert "NEW and CLEANUP last less than that: count entries instead." in found["sentence"]


def test_the_sentence_has_seconds_jobs_the_worst_phase_and_the_journal() -> None:
    found = advice(priced(), priced(off_s=25.0, retention=60.0, flush=10.0))
    assert found["journal"] == 1
    assert found["sentence"] == (
        "Keep a point every 1s, and timer + client + flush within about as much: curves are then 0.3 s off "
        "(5 to 95 %: -0.6 to +0.6 s; the worst phase 0.5 s), whatever the workload; here 3 jobs at 10 jobs/s. "
        "Sends least: timer 1s, totals, flush 1s, retention 1s: 100.0 packets/s, overhead not measurable. "
        "No other ties. The journal's timer 1s, totals, flush 10s, retention 1m is 25 s off (x83). "
        "NEW and CLEANUP last less than that: count entries instead."
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"overhead": 0.0009}, "not measurable"),
        ({"overhead": 0.027}, "2.7% (predicted)"),
        ({"overhead": 0.02, "overhead_kind": "real", "overhead_low": -0.01}, "not measurable"),
        (
            {"overhead": 0.02, "overhead_kind": "real", "overhead_low": 0.01, "overhead_high": 0.03},
            "2.0% [1.0% to 3.0%] (real)",
        ),
    ],
)
def test_an_overhead_that_cannot_be_told_from_nothing_is_no_figure(given: dict[str, Any], told: str) -> None:
    assert overhead(priced(**given)) == told
