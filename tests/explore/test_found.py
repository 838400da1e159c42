"""Plans that a search found in what ships: each of them holds now."""

from __future__ import annotations

import pytest

from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import run_plan
from brokersim.protocol.errnums import EIO, ENOENT, ENOSPC


def _step(number: int, op: str, key: str, at: float) -> Step:
    return Step(id=number, op=op, args={"key": key, "value": f"<{number}>"}, at=at)


def test_a_commit_that_was_merged_with_one_that_cannot_be_is_done_at_once():
    """Under a clock that jumps, kvs fell asleep after a commit that failed with no answer in any queue yet."""
    steps = (
        _step(0, "kvs.append", "a1", 0.007145), _step(1, "kvs.clash", "l", 0.007155),
        _step(2, "kvs.append", "d.a2", 0.007245),
    )  # fmt: skip
    outcome = run_plan(Plan(families=("kvs",), order=2, spread=1e-4, steps=steps))
    assert outcome.broken == ()
    assert ("kvs.clash", "kvs.commit", 95) in outcome.seen


@pytest.mark.parametrize("kind", ["reload", "kill"])
def test_what_ends_a_module_does_not_end_the_start_of_its_rank(kind):
    """A rank that was being started anew waited for a module that a fault ended then, and started no more behind it."""
    crash = PlannedFault(kind="crash", rank=1, at=0.00915)
    meanwhile = PlannedFault(kind=kind, rank=1, to="kvs", at=0.00916)
    plan = Plan(families=("watch",), size=2, order=3, spread=1e-4, faults=(crash, meanwhile))
    outcome = run_plan(plan)
    assert (outcome.broken, outcome.hits) == ((), {"crash": 1})


def test_who_follows_a_log_of_a_job_is_told_its_end_though_the_records_were_not_kept():
    """job-exec left the job's namespace behind when their copy could not be written: nothing ever ended there."""
    job = {"cores": 1, "duration": 3.0, "urgency": 1}
    follow = {"which": 0, "later": 0.0, "path": "guest.exec.eventlog"}
    steps = (
        Step(id=3, op="records.kill", at=0.0, args={"which": 1, "later": 0.05}),
        Step(id=4, op="records.submit", at=0.0, args=job),
        Step(id=5, op="records.follow", at=0.0, args=follow),
    )
    fault = PlannedFault(kind="fail", to="kvs.commit", on=("job-exec.start", 0, 3), errnum=ENOSPC)
    outcome = run_plan(Plan(families=("records",), order=1, steps=steps, faults=(fault,)))
    assert (outcome.broken, outcome.hits) == ((), {"fail": 1})


def test_a_fault_that_begins_with_the_last_messages_is_over_before_anybody_judges():
    """An anchor was reached as all came to rest, and what judged was refused."""
    anchor = ("kvs.namespace-primary-setroot", 0, 1)
    look = PlannedFault(kind="fail", rank=1, to="kvs.lookup", on=anchor, errnum=EIO, seconds=0.5)
    put = Step(id=0, op="kvs.sync", at=0.0, args={"key": "p1", "value": "<0>"})
    plan = Plan(families=("kvs",), size=2, order=1, spread=1e-3, steps=(put,), faults=(look,))
    assert run_plan(plan).broken == ()


def test_who_follows_a_log_that_a_power_cut_took_waits_and_that_is_no_fault():
    """A job that was lost with an instance is none in the next: who waits for its log is no module's fault."""
    job = {"cores": 1, "duration": 0.2, "urgency": 0}
    follow = {"which": 0, "later": 0.05, "path": "eventlog"}
    steps = (
        Step(id=0, op="records.submit", at=0.0, args=job), Step(id=1, op="records.follow", at=1.5, args=follow),
    )  # fmt: skip
    cut = PlannedFault(kind="power-cut", at=1.0)
    outcome = run_plan(Plan(families=("records",), has_disk=True, steps=steps, faults=(cut,)))
    assert (outcome.broken, outcome.hits) == ((), {"power-cut": 1})


def test_a_job_that_never_could_run_may_be_forgotten_before_it_would_have_ended():
    """A purge came before its last events were written, which then stand alone, as of any job that is over."""
    job = {"cores": 5, "duration": 0.2, "urgency": 31}
    purge = {"which": 1, "later": 0.001, "left": 0}
    steps = (
        Step(id=0, op="jobs.submit", at=0.0, args=job), Step(id=1, op="jobs.purge", at=0.0, args=purge),
    )  # fmt: skip
    assert run_plan(Plan(families=("jobs",), order=1, steps=steps)).broken == ()


def test_what_was_acknowledged_before_a_power_cut_and_not_synced_need_not_be_there_for_who_asks_later():
    """A get of the life after it was held against what an earlier life had said."""
    steps = (
        Step(id=5, op="kvs.put", at=0.0, args={"key": "u1", "value": "<5>"}),
        Step(id=11, op="kvs.get", at=1.5, args={"key": "u1"}),
    )
    cut = PlannedFault(kind="power-cut", at=1.0)
    outcome = run_plan(Plan(families=("kvs",), order=1, has_disk=True, steps=steps, faults=(cut,)))
    assert (outcome.broken, outcome.hits) == ((), {"power-cut": 1})
    assert ("kvs.get", "kvs.lookup", ENOENT) in outcome.seen


def test_a_job_that_the_scheduler_refused_has_ended_early_and_may_be_forgotten():
    """Requests to the scheduler failed, which ends a job; a purge that was to leave one forgot the first of two."""
    job = {"cores": 1, "duration": 3.0, "urgency": 1}
    steps = (
        Step(id=0, op="jobs.submit", at=0.0, args=job),
        Step(id=1, op="jobs.purge", at=0.0, args={"which": 1, "later": 0.05, "left": 1}),
        Step(id=2, op="jobs.submit", at=0.0, args=job),
    )
    modules = "content-cache kvs kvs-watch resource job-manager job-ingest job-info sched job-exec"
    refused = PlannedFault(kind="fail", to="sched.alloc", at=0.006132, count=5, errnum=EIO, seconds=0.5)
    plan = Plan(families=("jobs",), modules=tuple(modules.split()), order=1, steps=steps, faults=(refused,))
    outcome = run_plan(plan)
    assert (outcome.broken, outcome.hits) == ((), {"fail": 1})


def test_a_disk_that_was_full_for_a_write_nobody_waited_for_is_why_one_is_refused():
    """A batch could not be written, and who stored next was refused; the explorer saw a refusal without a reason."""
    steps = (
        Step(id=5, op="kvs.put", at=1.0, args={"key": "u1", "value": "<5>"}),
        Step(id=2, op="kvs.sync", at=1.015, args={"key": "d.u2", "value": "<2>"}),
    )
    full = PlannedFault(kind="fill-disk", at=1.0, seconds=0.0125)
    outcome = run_plan(Plan(families=("kvs",), order=1, steps=steps, faults=(full,)))
    assert outcome.broken == ()
    assert ("kvs.sync", "kvs.commit", ENOSPC) in outcome.seen


def test_an_entry_goes_on_that_was_started_from_afar_as_somebody_near_stopped_it():
    """The start was sent first and came last: the entry fired, and the stop was held to be the last word."""
    repeated = {"type": "interval", "schedule": {"interval": 3.0}, "repeat": 0}
    steps = (
        Step(id=0, op="cron.create", at=0.0, args=repeated),
        Step(id=1, op="cron.stop", at=1.0, args={"which": 0}),
        Step(id=2, op="cron.start", at=2.0, rank=1, args={"which": 0}),
        Step(id=3, op="cron.start", at=2.0, args={"which": 0}),
        Step(id=4, op="cron.stop", at=2.0, args={"which": 0}),
    )
    assert run_plan(Plan(families=("cron",), size=2, order=1, steps=steps)).broken == ()


def test_who_is_drained_while_the_resources_are_loaded_anew_gets_no_jobs_of_a_scheduler_that_was_not_told():
    """A scheduler whose resource module was loaded anew gave out, for up to a second, what it had known before."""
    steps = (
        Step(id=2, op="jobs.queue", at=1.54, args={"cores": [4, 3, 1], "durations": [3.0, 0.01, 0.01]}),
        Step(id=4, op="jobs.away", at=1.541, args={"seconds": 1.0}),
    )
    anew = PlannedFault(kind="reload", to="resource", at=1.5)
    outcome = run_plan(Plan(families=("jobs",), order=1, steps=steps, faults=(anew,)))
    assert (outcome.broken, outcome.hits) == ((), {"reload": 1})


def test_what_comes_over_a_slow_link_is_waited_for_before_anybody_judges():
    """A drain that was ten seconds on its way was held to be forgotten."""
    steps = (
        Step(id=2, op="jobs.drain", rank=1, at=0.0, args={"which": 1, "later": 0.0}),
        Step(id=4, op="jobs.submit", at=0.0, args={"cores": 1, "duration": 0.0001, "urgency": 16}),
    )
    slow = PlannedFault(kind="slow", rank=1, delay=10.0, on=("kvs.commit", 0, 1))
    outcome = run_plan(Plan(families=("jobs",), size=2, order=1, steps=steps, faults=(slow,)))
    assert (outcome.broken, outcome.hits) == ((), {"slow": 1})


def test_an_entry_may_have_run_for_as_long_as_its_answer_was_on_its_way():
    every = {"type": "interval", "schedule": {"interval": 3.0}, "repeat": 0}
    slow = PlannedFault(kind="slow", rank=1, delay=10.0, on=("cron.create", 0, 1))
    step = Step(id=8, op="cron.create", rank=1, at=0.0, args=every)
    assert run_plan(Plan(families=("cron",), size=2, order=1, steps=(step,), faults=(slow,))).broken == ()


@pytest.mark.parametrize("op", ["stop", "delete"])
def test_an_entry_runs_until_who_ends_it_from_afar_is_told(op):
    every = {"type": "interval", "schedule": {"interval": 0.5}, "repeat": 0}
    steps = (
        Step(id=0, op="cron.create", at=0.0, args=every),
        Step(id=1, op=f"cron.{op}", rank=1, at=1.0, args={"which": 0}),
    )
    slow = PlannedFault(kind="slow", rank=1, delay=10.0, at=0.9, seconds=0.2)
    assert run_plan(Plan(families=("cron",), size=2, order=1, steps=steps, faults=(slow,))).broken == ()


def test_a_follower_whose_rank_is_lost_leaves_no_stream_behind_that_has_no_end():
    """It followed a log that never comes; of the client nobody could tell job-info any more."""
    crash = PlannedFault(kind="crash", rank=1, at=0.009624)
    step = Step(id=2, op="records.ahead", rank=1, at=0.0)
    outcome = run_plan(Plan(families=("records",), size=2, order=1, steps=(step,), faults=(crash,)))
    assert (outcome.broken, outcome.hits) == ((), {"crash": 1})


def test_a_kvs_that_finds_no_checkpoint_as_it_is_loaded_anew_may_start_empty():
    """Nobody had refused it anything as it went."""
    anew = PlannedFault(kind="reload", to="kvs", at=0.0065, seconds=0.0025)
    other = PlannedFault(kind="kill", to="content-sqlite", at=0.0075, seconds=0.0025)
    step = _step(4, "kvs.put", "d.p2", 0.0)
    outcome = run_plan(Plan(families=("kvs",), order=1, steps=(step,), faults=(other, anew)))
    assert outcome.broken == () and outcome.hits["reload"] == 1


def test_what_an_anchored_fault_hit_at_the_very_end_excuses_what_it_did():
    """Under `hostile` an event came late, and the law of their order was held against kvs."""
    late = PlannedFault(
        kind="delay", to="kvs.namespace-primary-setroot", on=("kvs.commit", 0, 2), delay=0.01, count=1
    )
    step = Step(id=2, op="kvs.pair", at=0.0, args={"key": "d.a2", "value": "<2"})
    outcome = run_plan(Plan(families=("kvs",), order=1, steps=(step,), faults=(late,)))
    assert (outcome.broken, outcome.hits) == ((), {"delay": 1})


def test_a_job_that_waits_for_the_start_of_one_that_never_started_is_not_taken():
    """One that was given cores counted as started, though its log could not be begun."""
    steps = (
        Step(id=0, op="jobs.after", at=0.0, args={"which": 0, "later": 0.001, "scheme": "after", "cores": 1}),
        Step(id=2, op="jobs.submit", at=0.0, args={"cores": 1, "duration": 0.0001, "urgency": 1}),
    )
    fails = PlannedFault(kind="fail", to="kvs.commit", on=("sched.alloc", 0, 2), errnum=EIO)
    outcome = run_plan(Plan(families=("jobs",), order=1, steps=steps, faults=(fails,)))
    assert (outcome.broken, outcome.hits) == ((), {"fail": 1})


def test_a_new_scheduler_gives_out_nothing_before_it_knows_what_is_drained():
    """It joined the job manager at once, and its question about the resources might be overtaken by jobs."""
    steps = (
        Step(id=0, op="jobs.queue", at=0.0, args={"cores": [2, 3, 1], "durations": [3.0, 1.0, 0.01]}),
        Step(id=1, op="jobs.away", at=0.0, args={"seconds": 2.0}),
    )
    ends = PlannedFault(kind="kill", to="sched", on=("sched.alloc", 0, 1))
    for order in range(8):
        plan = Plan(families=("jobs",), order=order, spread=2e-5, steps=steps, faults=(ends,))
        outcome = run_plan(plan)
        assert (outcome.broken, outcome.hits) == ((), {"kill": 1})


def test_a_held_job_whose_client_was_lost_before_it_was_told_is_let_go_at_rest():
    """Who waited for the end of all jobs waited for that one, which nobody knew."""
    job = {"cores": 1, "duration": 3.0, "urgency": 16}
    held = {"which": 0, "later": 0.001, "of": "held", "urgency": 16}
    steps = (
        Step(id=1, op="jobs.submit", at=0.0, args=job),
        Step(id=2, op="jobs.drain", at=3.7, args={"which": 0, "later": 0.05}),
        Step(id=4, op="jobs.urgency", rank=1, at=3.7, args=held),
    )
    crash = PlannedFault(kind="crash", rank=1, at=3.7001)
    outcome = run_plan(Plan(families=("jobs",), size=2, order=1, steps=steps, faults=(crash,)))
    assert (outcome.broken, outcome.hits) == ((), {"crash": 1})


@pytest.mark.parametrize(
    "again",
    [
        [],
        [_step(11, "watch.grow", "e1", 0.02)],
        [_step(11, "watch.grow", "e1", 0.02), _step(12, "watch.grow", "e1", 0.02)],
    ],
)
def test_a_log_that_goes_and_comes_in_one_commit_has_only_changed_for_who_watches_it(again):
    """It is told what stands behind as much as it has been told, in Flux as here."""
    watch = {"key": "e1", "flags": 4 | 8 | 256}
    steps = (
        _step(6, "watch.grow", "e1", 0.0),
        Step(id=1, op="watch.log", at=0.01, args=watch),
        _step(2, "watch.grow", "u1", 0.02),
        Step(id=3, op="watch.end", at=0.02, args={"key": "e1"}),
        *again,
    )
    outcome = run_plan(Plan(families=("watch",), order=1, steps=steps))
    assert outcome.broken == ()


@pytest.mark.parametrize("has_disk", [True, False])
def test_a_disk_that_was_full_twice_at_one_time_has_room_when_both_are_over(has_disk):
    """The second gave back the limit it had met, which was the first's: the disk stayed full for good."""
    steps = (
        Step(id=0, op="content.store", at=0.0, args={"number": 0, "size": 31}),
        Step(id=1, op="content.store", at=0.0, args={"number": 1, "size": 1982}),
        Step(id=2, op="content.store", at=0.02, args={"number": 0, "size": 9000}),
    )
    full = PlannedFault(kind="fill-disk", at=0.008)
    later = PlannedFault(kind="fill-disk", at=0.008, seconds=0.001)
    plan = Plan(families=("content",), has_disk=has_disk, order=1, steps=steps, faults=(full, later))
    assert run_plan(plan).broken == ()


def test_a_scheduler_that_comes_while_there_is_no_resource_module_is_told_of_no_drain():
    """It gives out the instance's resources then; what a module that is gone had promised is not held against it."""
    held = {"later": 0.05, "of": "held", "urgency": 1, "which": 0}
    steps = (
        Step(id=0, op="jobs.urgency", at=0.0, args=held),
        Step(id=1, op="jobs.away", at=0.0, args={"seconds": 2.0}),
    )
    ends = (
        PlannedFault(kind="kill", to="sched", on=("sched.alloc", 0, 1)),
        PlannedFault(kind="kill", to="resource", on=("resource.acquire", 0, 2)),
    )
    outcome = run_plan(Plan(families=("jobs",), order=1, steps=steps, faults=ends))
    assert (outcome.broken, outcome.hits) == ((), {"kill": 2})
