"""The job's state machine against a table written from RFC 21, and the events' lines (RFC 18)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.eventlog import (
    decode_event,
    decode_log,
    encode_event,
    make_event,
    split_lines,
    whole_size,
)
from brokersim.protocol.job_facts import JobFacts
from brokersim.protocol.job_states import State, next_state, priority_of
from brokersim.protocol.job_table import JobTable
from modules.job_ingest.fluid import FluidGenerator
from modules.job_manager.job import Job

# RFC 21 as a table: state -> event -> next state; an event that is missing cannot come.
ANYTIME = {"urgency": None, "memo": None, "exception1": None, "exception0": "CLEANUP"}
MODEL = {
    "NEW": {"submit": None, "validate": "DEPEND", "invalidate": None, "dependency-add": None, **ANYTIME},
    "DEPEND": {"dependency-add": None, "dependency-remove": None, "depend": "PRIORITY", **ANYTIME},
    "PRIORITY": {"priority": "SCHED", **ANYTIME},
    "SCHED": {"priority": None, "flux-restart": "PRIORITY", "alloc": "RUN", **ANYTIME},
    "RUN": {"start": None, "finish": "CLEANUP", "release": None, **ANYTIME},
    "CLEANUP": {
        "alloc": None, "start": None, "finish": None, "release": None, "free": None, "clean": "INACTIVE", **ANYTIME
    },
    "INACTIVE": {},
}  # fmt: skip
for _state in ("NEW", "DEPEND", "PRIORITY", "RUN", "CLEANUP"):
    MODEL[_state].setdefault("flux-restart", None)
EVENTS = sorted({name for row in MODEL.values() for name in row})
CONTEXTS = {
    "submit": {"userid": 0, "urgency": 16, "flags": 0},
    "dependency-add": {"description": "afterok=1"},
    "dependency-remove": {"description": "afterok=1"},
    "priority": {"priority": 3},
    "urgency": {"urgency": 5},
    "alloc": {"annotations": {}},
    "finish": {"status": 256},
    "release": {"ranks": "all", "final": True},
}


def event_of(name, at=1.0):
    if name.startswith("exception"):
        return make_event(at, "exception", {"type": "cancel", "severity": int(name[-1]), "note": ""})
    return make_event(at, name, CONTEXTS.get(name))


def new_job(number=1):
    facts = JobFacts(name="true", ntasks=1, nnodes=0, ncores=1, duration=0.0)
    return Job(id=number, facts=facts, jobspec={})


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_a_job_takes_exactly_the_events_its_state_allows_and_goes_where_they_lead(names):
    job, state = new_job(), "NEW"
    for at, name in enumerate(names, 1):
        row = MODEL[state]
        if name not in row:
            before = (job.state, job.status, job.exception, len(job.events))
            with pytest.raises(ValueError, match=f"cannot come in state {state}"):
                job.apply(event_of(name, at))
            assert (job.state, job.status, job.exception, len(job.events)) == before
            continue
        job.apply(event_of(name, float(at)))
        state = row[name] or state
        assert job.state.name == state


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(EVENTS)), max_size=60))
def test_the_counts_of_all_states_sum_to_the_jobs_submitted_at_every_instant(steps):
    table, jobs = JobTable(), {}
    for number, name in steps:
        if number not in jobs:
            table.add(jobs.setdefault(number, new_job(number)))
        job, old = jobs[number], jobs[number].state
        try:
            job.apply(event_of(name))
        except ValueError:
            continue
        if job.state is not old:
            table.moved(job, old)
        counts = table.counts.to_dict()
        assert sum(counts.values()) == table.counts.submitted == len(jobs)
        for state in State:
            assert counts[state.name] == sum(one.state is state for one in jobs.values())
        assert set(table.active) == {one.id for one in jobs.values() if one.state is not State.INACTIVE}


def test_only_so_many_inactive_jobs_are_remembered_and_the_sum_still_holds():
    table = JobTable(inactive_max=2)
    for number in range(5):
        job = new_job(number)
        job.state = State.INACTIVE
        table.add(job)
    assert list(table.inactive) == [3, 4]
    assert (table.purged, table.counts[State.INACTIVE], table.counts.submitted) == (3, 5, 5)


def test_urgency_31_goes_before_every_other_and_0_is_held():
    assert [priority_of(urgency) for urgency in (0, 1, 16, 30, 31)] == [0, 1, 16, 30, 4294967295]


def test_a_fatal_exception_ends_a_job_from_every_state_but_the_last():
    for state in State:
        if state is State.INACTIVE:
            with pytest.raises(ValueError, match="INACTIVE"):
                next_state(state, "exception", {"severity": 0})
        else:
            assert next_state(state, "exception", {"severity": 0}) is State.CLEANUP


TEXT = st.text(min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.floats(1, 2e9), TEXT, st.none() | st.dictionaries(TEXT, VALUES, max_size=4))
def test_an_event_is_one_line_and_reads_back(timestamp, name, context):
    line = encode_event(make_event(timestamp, name, context))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    fields = msgspec.json.decode(line)
    assert list(fields) == ["timestamp", "name", "context"][: len(fields)]
    assert decode_event(line) == make_event(timestamp, name, context)


@given(st.lists(TEXT, max_size=6), st.integers(0, 200), st.integers(0, 40))
def test_a_growing_log_is_cut_into_each_whole_line_once(names, cut, torn):
    log = b"".join(encode_event(make_event(1.0, name)) for name in names)
    seen, sent = [], 0
    for upto in (min(cut, len(log)), len(log) - min(torn, len(log)), len(log)):
        seen += [decode_event(line)["name"] for line in split_lines(log[:upto], sent)]
        sent = max(sent, whole_size(log[:upto]))
    assert seen == names


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "[]", "3", '{"name":"x"}', '{"timestamp":1}', '{"timestamp":0,"name":"x"}',
        '{"timestamp":true,"name":"x"}', '{"timestamp":1,"name":""}', '{"timestamp":1,"name":"x","context":[]}',
        '{"timestamp":1,"name":"x","more":1}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_refused(line):
    with pytest.raises(ValueError, match="eventlog line"):
        decode_event(line)
    with pytest.raises(ValueError, match="eventlog line"):
        decode_log((line + "\n").encode())


@given(st.lists(st.integers(0, 5), max_size=300), st.integers(-1, 2**60))
def test_job_ids_grow_whatever_the_clock_does(steps, before):
    ids = FluidGenerator()
    if before >= 0:
        ids.start_after(before)
    made = [ids.make(step) for step in steps]
    assert made == sorted(set(made))
    assert not made or made[0] > before


def test_a_burst_of_ids_borrows_from_the_next_millisecond():
    ids = FluidGenerator()
    made = [ids.make(5) for _ in range(2500)]
    assert len(set(made)) == 2500
    assert [one >> 24 for one in (made[0], made[1023], made[1024], made[-1])] == [5, 5, 6, 7]
