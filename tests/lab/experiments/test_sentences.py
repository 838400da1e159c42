"""The one sentence each experiment says of what it found, from figures made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.lab.experiments import (
    aggregator,
    decay,
    idle,
    latency,
    modules,
    overhead,
    period,
    probes,
    resolution,
    states,
)
from brokersim.lab.result import Result
from brokersim.protocol.message import COUNTER_NAMES


def said(experiment: Any, runs: list[dict[str, Any]], clock: str = "virtual") -> str:
    return str(experiment.EXPERIMENT.verdict(Result(meta={"clock": clock}, parts={"runs": runs})))


def test_a_client_that_showed_a_count_below_0_is_told_and_what_cured_it():
    def row(length: float, fix: str, run: float, cleanup: float) -> dict[str, Any]:
        return {"period_s": length, "fix": fix, "run_lowest": run, "cleanup_lowest": cleanup}

    assert said(period, [row(1.0, "none", 0, 0)]) == "No client showed a count below 0."
    # Without a period nothing is added up, and a cure that did not cure is none.
    assert (
        said(period, [row(0.0, "none", -5, 0), row(1.0, "two", -1, 0)]) == "No client showed a count below 0."
    )
    broken = [row(1.0, "none", 0, -3), row(2.0, "none", -4, 0)]
    told = said(period, [*broken, row(1.0, "b", 0, 1), row(1.0, "a", 2, 0), row(1.0, "c", -1, 0)])
    assert told.endswith(
        "fall below 0: a period of 1 s down to -3; a period of 2 s down to -4. Cured by a or b."
    )
    assert said(period, [row(1.0, "none", 0, -3)]).endswith("fall below 0: a period of 1 s down to -3.")


def test_what_senders_lost_is_added_up_sender_by_sender():
    rows = [
        {"sender": "bounded", "dropped": 1, "offered": 50}, {"sender": "bounded", "dropped": None, "offered": 50},
        {"sender": "unbounded", "dropped": 10, "offered": 60}, {"sender": "unbounded", "dropped": 15, "offered": 40},
    ]  # fmt: skip
    told = "Of 100 lines a sender lost, said by the kernel: one that is bounded 1.0% and one that is unbounded 25.0%"
    assert said(aggregator, rows).startswith(told)


def test_at_rest_only_heartbeats_move_and_a_job_that_prints_is_told_if_one_ran():
    rest = {"rest": idle.REST, "hook": "timer", "messages": 1200, "seconds": 30.0}
    chatty = [{"rest": idle.CHATTY, "hook": hook, "commits": 7, "metrics_per_s": rate}
              for hook, rate in (("prepare", 9.6), ("check", 4.2))]  # fmt: skip
    told = "At rest only heartbeats move: 1,200 messages in 30 s, no commit."
    assert said(idle, [rest]) == told
    more = "A job that prints makes a commit a line (7); metrics/s: prepare 10, check 4."
    assert said(idle, [*chatty, rest]) == f"{told} {more}"


def test_jobs_a_second_at_the_end_are_a_share_of_those_at_first_model_by_model():
    rows = [
        {"model": model, "jobs_per_s": rate}
        for model, rate in (("a", 4.0), ("b", 2.0), ("a", 9.0), ("a", 2.0))
    ]
    assert said(decay, rows).endswith("by model: a 50%, b 100%.")


@pytest.mark.parametrize(
    ("timings", "mean", "more"),
    [
        (["each"], 2.0, ""), (["aux"], 2.0, ""), (["each", "aux"], 0.0, ""),
        (["each", "aux"], 2.0, " One start for all shows 50% of the true mean of stores."),
    ],
)  # fmt: skip
def test_how_long_stores_and_loads_took_and_what_one_start_for_all_shows(timings, mean, more):
    rows = [
        {
            "timing": timing,
            "operation": operation,
            "count": 1000,
            "p99": p99,
            "mean": mean if timing == "each" else 1.0,
        }
        for timing in timings
        for operation, p99 in (("store", 1.5), ("load", 0.25))
    ]
    assert said(latency, rows) == f"Of 1,000 stores 99 % took up to 1.5 ms, of 1,000 loads 0.25 ms.{more}"


def test_the_two_modules_that_receive_most_of_a_job_are_named():
    rows = [
        {"module": name, **{kind: (count if kind in COUNTER_NAMES[1::2] else 99) for kind in COUNTER_NAMES}}
        for name, count in (("a", 1), ("b", 5), ("c", 3))
    ]
    kinds = len(COUNTER_NAMES[1::2])
    assert said(modules, rows) == (
        f"A serial job is {9 * kinds} messages received by all modules: {5 * kinds} by b, {3 * kinds} by c."
    )


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [
        (None, None, ""), (None, 0.1, ""), (0.1, None, ""), (0.0, 0.1, " (within the noise)"),
        (-0.1, 0.0, " (within the noise)"), (0.01, 0.1, " (+1.0% to +10.0%)"), (-0.2, -0.1, " (-20.0% to -10.0%)"),
    ],
)  # fmt: skip
def test_an_interval_that_holds_0_is_no_cost_that_was_measured(low, high, within):
    rows = [
        {"masks": "on", "hook": "idle", "overhead": 0.05, "low": low, "high": high},
        {"masks": "off", "hook": "idle", "overhead": 0.5},
    ]
    assert said(overhead, rows) == f"Wall time added by each hook: idle +5.0%{within}."


def test_how_far_a_measured_curve_is_off_or_what_measuring_it_takes():
    rows = [{"every": every, "error": error, "overhead": 0.002, "low": None, "high": None}
            for every, error in (("none", 0.0), ("1s", 0.125), ("10s", 0.5))]  # fmt: skip
    assert (
        said(probes, rows)
        == "On average the curve of kvs' messages is off by 12.5% every 1s, 50.0% every 10s."
    )
    told = "CPU added to the jobs by measuring every 1s +0.2%, every 10s +0.2%."
    few = f" Whether a second's is {probes.GOAL:.0%} at most takes --reps {probes.LEAST_ROUNDS} or more."
    assert said(probes, rows, "real") == told + few
    assert said(probes, rows[2:], "real") == "CPU added to the jobs by measuring every 10s +0.2%."
    wide = [dict(row, low=-0.5, high=0.5) for row in rows[1:2]]
    assert said(probes, wide, "real").endswith("cannot be told from that: more --reps or --jobs may.")
    assert said(probes, [dict(row, low=0.001, high=0.003) for row in rows[1:2]], "real") == (
        "CPU added to the jobs by measuring every 1s +0.2% (+0.1% to +0.3%)."
    )


def test_what_the_server_showed_without_job_new_and_with_it():
    journal = {"new_end": -1000.0}
    fixed = {"new_end": 0.0, "run_true_highest": 4, "run_highest": 3.0}
    assert said(states, [journal, fixed]) == (
        "Without job.new the server's NEW ends at -1,000, with it at 0; of at most 4 jobs that ran at once it showed 3."
    )


def test_the_slowest_stage_is_told_with_the_range_of_its_errors_the_longest_first():
    rows = [{"slowest_s": slowest, "error": error}
            for slowest, error in ((1.0, 0.02), (10.0, 0.2), (1.0, 0.0204), (10.0, 0.3))]  # fmt: skip
    assert said(resolution, rows).endswith("whichever it is: 20.0% to 30.0% at 10 s, 2.0% at 1 s.")
