"""The aggregating client: net-zero increments drive gauges below 0, and both cures end at what was counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.experiments.period import Plan, client_run, close_up, period
from brokersim.lab.load.bulk import STATES, Transition, Truth
from brokersim.lab.result import Result
from tests.lab.load.test_bulk import lives


@pytest.fixture(scope="module")
def found() -> Result:
    return period(Plan(jobs=70, batches=2, run_time=0.4))


def by_client(found: Result) -> dict[tuple[float, str], dict[str, Any]]:
    return {(row["period_s"], row["fix"]): row for row in found.runs}


def test_everything_the_journal_found_comes_out(found: Result) -> None:
    assert found.failed() == []


def test_only_the_journals_client_with_a_period_falls_below_zero(found: Result) -> None:
    below = {key: row["run_below_0"] + row["cleanup_below_0"] for key, row in by_client(found).items()}
    assert below.pop((1.0, "none")) > 0
    assert set(below.values()) == {0}


def test_without_a_period_each_transition_but_the_submission_is_two_lines(found: Result) -> None:
    assert by_client(found)[0.0, "none"]["lines"] == 2 * 6 * 140


def test_a_transition_at_the_end_of_a_period_belongs_to_it() -> None:
    moves: list[Transition] = [(1.0, "SCHED", "RUN"), (1.5, "RUN", "CLEANUP"), (2.0, "SCHED", "RUN")]
    packets = client_run(moves, 1.0, "none", 1.0).packets
    assert packets == [(1.0, b"sched:-1|g\nrun:+1|g\n"), (2.0, b"run:0|g\ncleanup:+1|g\nsched:-1|g\n")]
    skipped = client_run(moves, 1.0, "skip-zero", 1.0).packets
    assert b"run" not in skipped[1][1]


@given(lives(), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from(["skip-zero", "totals"]))
def test_cured_clients_leave_the_server_at_the_callers_own_totals(
    transitions: list[Transition], length: float, fix: str
) -> None:
    held = dict.fromkeys(STATES, 0)
    touched = set()
    for _, left, entered in transitions:
        if left is not None:
            held[left] -= 1
            held[entered] += 1
            touched |= {left, entered}
    run = client_run(transitions, length, fix, 1.0)
    assert {state: run.last(state) for state in touched} == {state: held[state] for state in touched}


def test_the_same_seed_gives_the_same_bytes() -> None:
    plan = Plan(jobs=4, seed=2)
    first, second = (json.dumps(period(plan).to_json()) for _ in range(2))
    assert first == second


def test_the_close_up_shows_a_line_of_0_that_sets_the_gauge_while_jobs_run() -> None:
    # At 1.5 s one enters RUN and one leaves: the increments cancel, the journal's client says "run:0|g".
    moves = (
        (0.5, None, "NEW"),
        (0.5, "NEW", "RUN"),
        (0.6, "NEW", "RUN"),
        (1.5, "NEW", "RUN"),
        (1.6, "RUN", "CLEANUP"),
    )
    clients = [client_run(moves, 1.0, fix, 0.5) for fix in ("totals", "none")]
    seen = close_up(clients, Truth(transitions=moves))
    assert seen is not None
    assert seen["client"] == "1 s, none"
    assert seen["sent"] == [(1.0, 2)]
    assert seen["zeros"] == [(2.0, 0)]
    assert [value for _, value in seen["server"]] == [2, 0]
    assert close_up(clients[:1], Truth(transitions=moves)) is None
