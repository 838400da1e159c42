"""The instance at rest: small integers, exact in virtual time, and hooks in their order."""

from __future__ import annotations

import json

import pytest

from brokersim.lab.experiments.idle import CHATTY, HOOKS, REST, Plan, idle
from brokersim.lab.result import Result

SECONDS, RATE = 40.0, 1.55


@pytest.fixture(scope="module")
def found() -> Result:
    return idle(Plan(seconds=SECONDS, background=RATE))


def moved(found: Result, rest: str, hook: str) -> dict[str, dict[str, int]]:
    return {
        module: {kind: n for kind, n in counts.items() if n}
        for module, counts in found.parts["tables"][rest][hook].items()
        if any(counts.values())
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_at_rest_only_heartbeats_move_one_each_two_seconds(found: Result, hook: str) -> None:
    assert moved(found, REST, hook) == {
        "heartbeat": {"request_tx": 20, "response_rx": 20},
        "content-cache": {"event_rx": 20},
        "kvs": {"event_rx": 20},
        "cron": {"event_rx": 20},
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_a_printed_line_is_a_commit_two_stores_and_one_event(found: Result, hook: str) -> None:
    lines, beats = 62, 20
    counts = moved(found, CHATTY, hook)
    assert counts["kvs"] == {
        "request_rx": lines, "response_tx": lines, "request_tx": 2 * lines, "response_rx": 2 * lines,
        "event_tx": lines, "event_rx": lines + beats,
    }  # fmt: skip
    assert counts["content-sqlite"] == {"request_rx": 2 * lines, "response_tx": 2 * lines}
    assert "job-exec" not in counts, "the shell writes them, a client of its own"


def test_all_laws_hold_and_the_hooks_stand_in_the_journals_order(found: Result) -> None:
    assert found.failed() == []


def test_idle_sends_a_packet_a_change_as_prepare_does_and_more_than_check(found: Result) -> None:
    packets = {run["hook"]: run["packets"] for run in found.runs if run["rest"] == CHATTY}
    assert packets["check"] < packets["idle"] == packets["prepare"]


def test_prepare_sends_two_packets_more_per_commit_than_check(found: Result) -> None:
    """One for kvs's own turn that applies it, one for the continuation of an answer, which check shows together."""
    packets = {run["hook"]: run["packets"] for run in found.runs if run["rest"] == CHATTY}
    commits = {run["commits"] for run in found.runs if run["rest"] == CHATTY}
    assert packets["prepare"] - packets["check"] == 2 * commits.pop()
    assert not commits


def test_panels_add_up_to_the_packets(found: Result) -> None:
    for run in found.runs:
        panel = found.parts["panels"][run["rest"]][run["hook"]]
        assert sum(map(sum, panel.values())) == 8 * run["packets"]


def test_without_a_background_job_there_is_one_kind_of_rest() -> None:
    found = idle(Plan(seconds=10, background=0, hooks=("check",)))
    assert [run["rest"] for run in found.runs] == [REST]
    assert found.failed() == []


def test_the_same_seed_gives_the_same_bytes() -> None:
    plan = Plan(seconds=10, hooks=("idle",), seed=7)
    first, second = (json.dumps(idle(plan).to_json()) for _ in range(2))
    assert first == second
