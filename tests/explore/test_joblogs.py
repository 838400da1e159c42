"""What eventlogs of jobs must say beside each other, and beside what clients were told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from brokersim.explore.families.joblogs import Log, gaps, judge
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked

CLIENT: Any = SimpleNamespace(is_open=True)


def log(**events: float | tuple[float, dict[str, Any]]) -> Log:
    """Events by name, each with its time, or with that and its context."""
    found = []
    for name, event in events.items():
        when, context = event if isinstance(event, tuple) else (event, {})
        found.append({"name": name.split("__")[0], "timestamp": when, "context": context})
    return found


def whole(
    urgency: int = 16, start: float = 2.0, end: float | tuple[float, int] = 3.0, ready: float = 1.0
) -> Log:
    end, status = end if isinstance(end, tuple) else (end, 0)
    return log(
        submit=(ready, {"urgency": urgency}), validate=ready, depend=ready, priority=(ready, {"priority": urgency}),
        alloc=start, start=start, finish=(end, {"status": status}), release=end, free=end, clean=end,
    )  # fmt: skip


def asked(topic: str, payload: Any = None, *, number: int = 0, sent: int = 0, **more: Any) -> Asked:
    return Asked(Step(id=number, op="jobs.x"), topic, payload, CLIENT, sent, 0.0, **more)


def job(number: int, answered: int = 1) -> Asked:
    return asked("job-ingest.submit", {}, number=number, answered=answered, value={"id": number}, told=1.0)


def judged(
    logs: dict[int, Log], *requests: Asked, disturbed: Any = (), failing: bool = False, **kept: Any
) -> list[str]:
    world: Any = SimpleNamespace(
        asked=requests, kept=kept, disturbed=dict.fromkeys(disturbed), failing=failing, life=0
    )
    return judge(world, [job(number) for number in logs], logs)


def test_a_job_as_it_should_be_is_fine():
    assert judged({1: whole(), 2: whole(31)}) == []


def test_events_come_in_their_order():
    early = log(submit=(1, {"urgency": 16}), start=2, alloc=2, clean=3)
    early[1:1] = whole()[1:4]
    assert judged({1: early}) == [
        "jobs: job 1 has its events in a wrong order: submit validate depend priority start alloc clean"
    ]


@pytest.mark.parametrize(
    ("urgency", "held_at", "let_go_at", "is_fine"),
    [(0, None, None, False), (0, None, 1.5, True), (16, 1.9, None, True), (16, 1.0, None, False)],
)
def test_who_is_held_gets_nothing_but_what_was_on_its_way(urgency, held_at, let_go_at, is_fine):
    events: Log = log(submit=(1.0, {"urgency": urgency}))
    for when, new in ((held_at, 0), (let_go_at, 16)):
        if when is not None:
            events += log(urgency=(when, {"urgency": new}))
    assert judged({1: events + log(alloc=2.0)}) == (
        [] if is_fine else ["jobs: job 1 was held, and got resources"]
    )


@pytest.mark.parametrize(
    ("scheme", "ready", "is_fine"),
    [("afterany", 2.5, False), ("afterany", 3.0, True), ("after", 2.5, True), ("after", 1.5, False)],
)
def test_who_waits_for_another_goes_on_when_that_has_come_so_far(scheme, ready, is_fine):
    logs = {1: whole(start=2.0, end=3.0), 2: log(submit=(1.0, {"urgency": 16}), depend=ready)}
    text = f"jobs: job 2 went on {scheme} job 1, which had not come so far"
    assert judged(logs, after={2: (scheme, 1)}) == ([] if is_fine else [text])


def test_waits_end_with_what_they_wait_for_and_not_before():
    logs = {1: whole(end=3.0)}
    for topic, payload in (("job-manager.wait", {"id": 1}), ("job-manager.drain", None)):
        fine = {"sent": 5, "answered": 6, "value": {"success": True}}
        early = asked(topic, payload, told=2.0, **fine)
        assert judged(logs, early) == [f"jobs: {early} was answered before the end of job 1"]
        assert judged(logs, asked(topic, payload, told=3.0, **fine)) == []
        never = asked(topic, payload, sent=5)
        assert judged(logs, never) == [f"jobs: {never} was never answered, and no job is active"]
        refused = asked(topic, payload, sent=5, answered=6, errnum=113)
        assert judged(logs, refused) == []
    assert judged(logs, asked("job-manager.drain", sent=0, answered=6, told=2.0)) == []
    wrong = asked("job-manager.wait", {"id": 1}, answered=6, told=3.0, value={"success": False})
    assert judged(logs, wrong) == [f"jobs: {wrong} was told {{'success': False}}, and its log says otherwise"]


@pytest.mark.parametrize(
    ("scheme", "status", "says"),
    [("afterok", 0, ""), ("afternotok", 1, ""), ("afterok", 1, "failed"), ("afternotok", 0, "succeeded")],
)
def test_who_waits_for_a_good_or_a_bad_end_goes_on_after_no_other(scheme, status, says):
    logs = {1: whole(start=2.0, end=(3.0, status)), 2: log(submit=(1.0, {"urgency": 16}), depend=3.5)}
    text = f"jobs: job 2 went on {scheme} job 1, which {says}"
    assert judged(logs, after={2: (scheme, 1)}) == ([text] if says else [])


def test_no_job_gets_resources_before_one_that_comes_first_and_waits():
    logs = {1: whole(31, ready=1.0, start=9.0, end=9.5), 2: whole(16, ready=1.0, start=2.0)}
    assert judged(logs) == ["jobs: job 2 got resources; job 1, which comes first, had waited for 1.0 s"]
    assert judged(logs, disturbed=[(0, "sched")]) == judged(logs, failing=True) == []
    assert judged({1: whole(31, ready=1.8, start=9.0, end=9.5), 2: whole(16, start=2.0)}) == []
    assert judged({1: whole(16, start=9.0, end=9.5), 2: whole(16, start=2.0)}) == []
    later = {1: whole(16, ready=0.9, start=9.0, end=9.5), 2: whole(16, ready=1.0, start=2.0)}
    assert judged(later) == ["jobs: job 2 got resources; job 1, which comes first, had waited for 1.1 s"]


@pytest.mark.parametrize("topic", ["job-manager.raise", "job-manager.kill"])
def test_a_job_that_was_ended_is_over_soon(topic):
    logs = {1: whole(end=9.0)}
    ended = asked(topic, {"id": 1}, answered=6, told=5.0)
    assert judged(logs, ended) == [f"jobs: {ended} was acknowledged, and the job went on for 4.0 s"]
    assert judged({1: whole(end=5.2)}, ended) == []
    assert judged(logs, asked(topic, {"id": 1}, answered=6, errnum=22)) == []


@pytest.mark.parametrize("gone", ["submit", "validate", "depend", "priority", "alloc", "start"])
def test_what_must_have_happened_stands_there(gone):
    left = [event for event in whole() if event["name"] != gone]
    names = " ".join(event["name"] for event in left)
    assert gaps(left) == [f"has no {gone}: {names}"]
