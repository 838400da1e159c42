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
from brokersim.lab.sweep.advice import STURDIEST, advise, confirm, priced
from brokersim.lab.sweep.front import behind, combine, front

FIGURE = st.integers(0, 6)


def row(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = dict(
        workload="bulk", seed=0, emission="timer:1s", period=0.0, style="absolute", flush=1.0, retention=1.0,
        dialect="strict", loss=0.0, error=0.02, errors=[0.02, 0.02], error_worst=0.02, error_drawn=0.02, max_error=0.5,
        bias=0.0, gap=0.0, visits_missed=0.0, packets=10, packets_per_s=1.0, bytes_per_s=100.0, negatives=0, lowest=0,
        sum_error=0, missed_longest_s=0.1, final_error=0.0, states_error=0.02, counters_error=None, lag_s=None,
        lag_error=None, missed=["depend"], series={"a": 0.02}, timers={},
    )  # fmt: skip
    return given | changes


CHEAP = Price(kind="predicted", loss=0.001, low=0.001, high=0.001)
DEAR = Price(kind="predicted", loss=0.5, low=0.5, high=0.5)
PRICED = {
    ("timer:1s", False): CHEAP, ("timer:1s", True): CHEAP, ("timer:2s", False): CHEAP, ("idle", False): DEAR
}  # fmt: skip


def rows_priced(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return priced(combine(rows), PRICED, 0)


# -- front


@given(figures=st.lists(st.tuples(FIGURE, FIGURE), max_size=12))
def test_the_front_is_what_nothing_dominates(figures: list[tuple[int, int]]):
    rows = [{"error": error, "overhead": price} for error, price in figures]

    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one != other and one[0] <= other[0] and one[1] <= other[1]

    wanted = {at for at, figure in enumerate(figures) if not any(beats(other, figure) for other in figures)}
    found = front(rows, "overhead")
    assert set(found) == wanted
    assert [rows[at]["overhead"] for at in found] == sorted(rows[at]["overhead"] for at in found)


@given(figures=st.lists(st.tuples(st.integers(1, 6), FIGURE), min_size=1, max_size=10))
def test_a_row_is_behind_by_what_no_dearer_row_does_better(figures: list[tuple[int, int]]):
    rows = [{"error": error, "overhead": price} for error, price in figures]
    on_front = set(front(rows, "overhead"))
    for at, one in enumerate(rows):
        share = behind(one, rows, "overhead")
        no_dearer = [error for error, price in figures if price <= one["overhead"]]
        assert one["error"] == pytest.approx(min(no_dearer) * (1 + share))
        assert share == 0 or at not in on_front


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

    def fake(plan: Any) -> dict[str, Any]:
        assert (plan.clock, plan.reps) == ("real", 1)
        ran.append(plan.hooks[0])
        return {"runs": [{"wall_s": 1.0 if plan.hooks == ("none",) else 1.25, "cpu_s": 1.0}]}

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


def advice(*rows: dict[str, Any]) -> dict[str, Any]:
    return advise(rows_priced(*rows), 0.01, JOURNAL, "10 jobs (bulk)")


def test_within_five_percent_of_the_least_error_the_fewest_packets_win():
    least = row(error=0.020, errors=[0.020] * 2, packets_per_s=100.0)
    near = row(error=0.0209, errors=[0.0209] * 2, packets_per_s=5.0, flush=0.5)
    far = row(error=0.0211, errors=[0.0211] * 2, packets_per_s=1.0, flush=0.1)
    assert advice(least, near, far)["row"] == 1
    assert advice(least, far)["row"] == 0


def test_of_equal_rows_the_style_that_heals_after_a_loss_is_advised():
    styles = ("increments-nonzero", "totals", "absolute")
    assert advice(*(row(style=style) for style in styles))["row"] == 2
    assert set(STURDIEST) == set(STYLES)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"negatives": 1}, "values below 0"),
        ({"sum_error": 1}, "states that do not sum up to the jobs"),
        ({"missed_longest_s": 1.5}, "a missed visit longer than the retention"),
        ({"emission": "idle"}, "overhead above the budget"),
    ],
)
def test_a_faulty_row_is_never_advised_however_small_its_error(fault: dict[str, Any], name: str):
    bad = row(error=0.001, errors=[0.001] * 2, **fault)
    found = advice(bad, row(flush=10.0))
    assert found["row"] == 1
    assert found["excluded"][name] == 1
    alone = advice(bad)
    assert alone["row"] is None
    assert alone["sentence"] == f"no combination of 10 jobs (bulk) qualifies: of 1, 1 for {name}"


def test_intervals_that_overlap_are_called_no_difference():
    one = row(errors=[0.01, 0.03])
    two = row(errors=[0.02, 0.05], error=0.035, flush=10.0)
    found = advice(one, two)
    assert found["runners_up"] == [{"id": 1, "difference": "no difference shown"}]
    assert "confidence: no difference shown to 1 of the next 1" in found["sentence"]


def test_intervals_apart_are_a_difference_and_the_journals_row_is_marked():
    found = advice(row(), row(error=0.5, errors=[0.5, 0.5], retention=60.0, flush=10.0))
    assert found["journal"] == 1
    assert found["runners_up"][0]["difference"] == "worse"
    assert found["confidence"] == "intervals apart from all others"
    assert found["sentence"] == (
        "for 10 jobs (bulk) use timer 1s, client period 0s, absolute, flush 1s, retention 1s: error 2 % [2 % … 2 %], "
        "overhead 0.1 % (predicted), 1.0 packets/s; confidence: intervals apart from all others; next: timer 1s, "
        "client period 0s, absolute, flush 10s, retention 1m, error 50.0 %; the journal's settings: error 50.0 %"
    )


def test_one_draw_is_no_confidence():
    assert advice(row(errors=[0.02]), row(errors=[0.4], error=0.4, flush=10.0))["confidence"].startswith(
        "none"
    )


def test_rows_know_the_fronts_they_are_on():
    found = rows_priced(
        row(), row(error=0.01, errors=[0.01] * 2, emission="idle"), row(error=0.5, flush=10.0)
    )
    assert [one["on_front"] for one in found] == [["overhead"], ["overhead", "packets_per_s"], []]


def test_a_choice_is_confirmed_within_a_tenth_of_another_workloads_front():
    chosen, *_ = rows_priced(row())
    near = rows_priced(row(error=0.0108), row(error=0.010, flush=10.0))
    far = rows_priced(row(error=0.02), row(error=0.010, flush=10.0))
    found = confirm(chosen, {"serial": near, "burst": far})
    assert [(one["workload"], one["ok"]) for one in found] == [("serial", True), ("burst", False)]
    assert found[1]["behind"] == {"overhead": pytest.approx(1.0), "packets_per_s": pytest.approx(1.0)}
