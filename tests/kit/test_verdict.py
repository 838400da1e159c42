"""How a run is held against its baseline: what is compared, what is allowed, and how a difference is told."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from brokersim.kit.baseline import Baseline
from brokersim.kit.checked_run import CheckedRun
from brokersim.kit.cost import CostBound, Used
from brokersim.kit.laws import LAWS, Violation
from brokersim.kit.verdict import Compared, Verdict, judge

BASE = Baseline(
    command=("true",),
    settings={"size": 2, "seed": 7},
    versions={"brokersim": "1.0"},
    operations={"job": 2, "commit": 10},
    counters={"kvs.0.request_rx": 20, "kvs.0.event_tx": 4, "cron.0.request_rx": 3},
    topics={"kvs.0": {"request_rx kvs.commit": 12, "request_rx kvs.lookup": 8, "event_tx kvs.setroot": 4}},
)


def judged(baseline: Baseline | None = BASE, per: str = "", **changes: Any) -> Verdict:
    """The verdict over a run that differs so from the baseline."""
    run = CheckedRun(
        code=0, counted=attrs.evolve(BASE, **changes), violations=(), used=Used(cpu=0.5, wall=10.0)
    )
    return judge(run, baseline, per)


def named(verdict: Verdict) -> dict[str, Compared]:
    return {one.name: one for one in verdict.compared}


def test_the_same_run_has_every_counter_and_fails_nothing() -> None:
    verdict = judged()
    assert list(named(verdict)) == list(BASE.counters)
    assert (verdict.failures, verdict.differing, verdict.notes) == (0, (), ())


def test_what_is_new_or_gone_or_more_is_told_as_that() -> None:
    verdict = judged(counters={"kvs.0.request_rx": 21, "kvs.0.event_tx": 4, "mine.0.event_rx": 1})
    assert [str(one) for one in verdict.differing] == [
        "kvs.0.request_rx   expected 20 (10/job)   got 21 (+5.0 %)",
        "cron.0.request_rx   expected 3 (1.50/job)   got 0 (gone)",
        "mine.0.event_rx   expected 0 (0/job)   got 1 (new)",
    ]
    assert verdict.failures == 3


@pytest.mark.parametrize(("got", "ok"), [(22, True), (23, False), (18, True), (17, False)])
def test_a_tolerance_is_a_percentage_either_way_to_its_end(got: int, ok: bool) -> None:
    baseline = attrs.evolve(BASE, tolerances={"kvs.*": 1.0, "kvs.0.request_*": 10.0})
    one = named(judged(baseline, counters=BASE.counters | {"kvs.0.request_rx": got}))["kvs.0.request_rx"]
    assert one.ok is ok
    assert str(one).startswith("kvs.0.request_rx   expected 20 (10/job ±10 %)")


def test_the_topics_behind_a_difference_are_those_of_the_counter_that_moved_the_largest_first() -> None:
    now = {f"request_rx t{number}": number for number in range(1, 10)} | {"event_tx kvs.setroot": 9}
    (one,) = judged(counters=BASE.counters | {"kvs.0.request_rx": 45}, topics={"kvs.0": now}).differing
    assert one.topics == (
        ("kvs.commit", -12), ("t9", 9), ("kvs.lookup", -8), ("t8", 8), ("t7", 7), ("t6", 6), ("t5", 5), ("t4", 4),
    )  # fmt: skip
    assert named(judged())["kvs.0.request_rx"].topics == ()


def test_averages_are_those_of_the_operation_whatever_their_number() -> None:
    verdict = judged(
        per="job", operations={"job": 4, "commit": 10}, counters={"kvs.0.request_rx": 40, "x.0.event_rx": 1}
    )
    assert {name: (one.expected, one.got) for name, one in named(verdict).items()} == {
        "kvs.0.request_rx/job": (10, 10), "kvs.0.event_tx/job": (2, 0), "cron.0.request_rx/job": (1.5, 0),
        "x.0.event_rx/job": (0, 0.25),
    }  # fmt: skip
    with pytest.raises(ValueError, match="no operation 'event' in the baseline; it has job, commit"):
        judged(per="event")
    with pytest.raises(ValueError, match="it has none"):
        judged(attrs.evolve(BASE, operations={}), per="job")


def test_a_counter_that_varies_is_not_compared_and_that_is_told() -> None:
    baseline = attrs.evolve(BASE, varying={"kvs.0.request_rx": (19, 23)})
    for per in ("", "job"):
        verdict = judged(baseline, per, counters=BASE.counters | {"kvs.0.request_rx": 99})
        assert verdict.failures == 0
        assert not any(name.startswith("kvs.0.request_rx") for name in named(verdict))
        assert verdict.notes == ("not compared, for they vary from run to run: 1 counter",)


def test_what_was_not_the_same_about_the_runs_is_told_and_fails_nothing() -> None:
    baseline = attrs.evolve(BASE, tolerances={"kvs.0.request_rx/job": 5.0, "kv.*": 5.0})
    verdict = judged(
        baseline,
        settings={"size": 3, "hook": "idle"},
        operations={"job": 3, "commit": 10},
        versions={"brokersim": "2.0"},
        command=("false",),
    )
    assert verdict.failures == 0
    assert verdict.notes == (
        "size: 2 in the baseline, 3 here",
        "operations: 2 × job in the baseline, 3 here",
        "brokersim 1.0 made the baseline, this is 2.0",
        "tolerance 'kv.*' is for no counter there is",
        "command: 'true' in the baseline",
    )
    assert judged(attrs.evolve(BASE, versions={})).notes == ()


def test_laws_and_cost_are_judged_without_a_baseline_too() -> None:
    broken = Violation(law=LAWS["links"], places=("one",))
    run = CheckedRun(code=0, counted=BASE, violations=(broken,), used=Used(cpu=0.5, wall=10.0))
    for bound, failures in ((None, 1), (CostBound.parse("5%"), 1), (CostBound.parse("4.9%"), 2)):
        verdict = judge(run, None, bound=bound)
        assert (verdict.compared, verdict.violations, verdict.failures) == ((), (broken,), failures)


def test_an_average_per_operation_is_told_of_the_first_there_was_more_than_one_of() -> None:
    one = named(judged(attrs.evolve(BASE, operations={"job": 1, "commit": 8})))["kvs.0.request_rx"]
    assert one.per == "2.50/commit"
    assert named(judged(attrs.evolve(BASE, operations={"job": 1})))["kvs.0.request_rx"].per == ""
