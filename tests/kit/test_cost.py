"""A bound on processor time: how it is written, where it is refused, and which runs it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.kit.baseline import Baseline
from brokersim.kit.check import Checked, Judged
from brokersim.kit.check_plan import Asked, CheckError, plan_check
from brokersim.kit.checked_run import CheckedRun
from brokersim.kit.cost import CostBound, Used, cost
from brokersim.kit.verdict import judge

#: A quarter of a second of processor time in five: 5 % of a core, 2.5 ms each for a hundred requests.
USED = Used(cpu=0.25, wall=5.0)
COUNTED = Baseline(
    command=("x",), settings={}, versions={}, operations={"rpc": 100}, counters={}, topics={}
)  # fmt: skip
REAL = {"clock": "real"}


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ("5%", "✓ the broker used 5% of a core; at most 5%"),
        ("4.9%", "✗ the broker used 5% of a core; at most 4.9%"),
        ("4.9%±3%", "✓ the broker used 5% of a core; at most 4.9%±3%"),
        ("4%+-10%", "✗ the broker used 5% of a core; at most 4%+-10%"),
        ("2.5ms/rpc", "✓ the broker used 2.5ms/rpc; at most 2.5ms/rpc"),
        ("2ms/rpc", "✗ the broker used 2.5ms/rpc; at most 2ms/rpc"),
        ("2ms/rpc±25%", "✓ the broker used 2.5ms/rpc; at most 2ms/rpc±25%"),
        ("1h/job", "✗ no job was counted; at most 1h/job"),
    ],
)
def test_what_was_used_is_held_against_the_bound_in_its_unit(bound: str, told: str) -> None:
    found = cost(USED, COUNTED.operations, CostBound.parse(bound))
    assert f"{'✓' if found.ok else '✗'} {str(found).removeprefix('cost: ')}" == told


@pytest.mark.parametrize("text", ["", "much", "-1%", "2ms/beer", "5%±much", "%", "2%/rpc"])
def test_what_is_no_bound_is_told_before_anything_is_run(text: str) -> None:
    with pytest.raises(CheckError, match=r"^--max-cost: not a bound: .*; give a share of a core, 5%, or"):
        plan_check(Asked(command=("x",), max_cost=text, settings=REAL))


@pytest.mark.parametrize("clock", [{}, {"clock": "virtual"}])
def test_under_the_virtual_clock_there_is_no_processor_time(clock: dict[str, Any]) -> None:
    with pytest.raises(CheckError, match="processor time, which the virtual clock does not know") as told:
        plan_check(Asked(command=("x",), max_cost="5%", settings=clock))
    assert told.value.attempt == "--clock real --max-cost '5%'"


@pytest.mark.parametrize(("bound", "state", "code"), [("5%", "OK", 0), ("1%", "CRITICAL", 1)])
def test_a_run_that_costs_too_much_fails_and_is_critical(bound: str, state: str, code: int) -> None:
    plan = plan_check(Asked(command=("x",), max_cost=bound, settings=REAL, record="new.toml"))
    run = CheckedRun(code=0, counted=COUNTED, violations=(), used=USED)
    one = Judged(point=plan.points[0], run=run, verdict=judge(run, None, bound=plan.max_cost))
    found = Checked(plan=plan, judged=(one,))
    assert (found.state, found.code, one.verdict.failures) == (state, code, code)
    assert "costs too much" in found.why_not_recorded
