"""Why a job was no success, in words."""

from __future__ import annotations

import pytest

from brokersim.protocol.job_facts import JobFacts
from brokersim.protocol.job_record import JobRecord
from brokersim.protocol.job_states import State

FACTS = JobFacts(name="x", ntasks=1, nnodes=1, ncores=1, duration=0.0)


@pytest.mark.parametrize(
    ("status", "exception", "says", "result"),
    [
        (0, None, "", 1),
        (None, None, "job never ran", 2),
        (9, None, "job shell Killed", 2),
        (3 << 8, None, "task(s) exited with exit code 3", 2),
        (128 << 8, None, "task(s) exited with exit code 128", 2),
        (137 << 8, None, "task(s) Killed", 2),
        (0, ("cancel", "by hand"), "Fatal exception type=cancel by hand", 4),
        (None, ("timeout", ""), "Fatal exception type=timeout ", 8),
        (None, ("alloc", "no"), "Fatal exception type=alloc no", 2),
    ],
)
def test_the_end_of_a_job_in_words_and_as_a_result(status, exception, says, result):
    job = JobRecord(id=1, facts=FACTS, jobspec=None, status=status, exception=exception)
    assert (job.errstr(), job.result) == (says, result)
    assert job.success == (says == "")


@pytest.mark.parametrize(
    ("before", "said", "after"),
    [
        (None, None, None),
        (None, {}, None),
        ({"a": 1}, None, {"a": 1}),
        (None, {"sched": {"why": "x"}}, {"sched": {"why": "x"}}),
        ({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}, {"b": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": None}, None),
    ],
)
def test_annotations_of_an_allocation_join_those_a_job_has_and_a_null_takes_one_away(before, said, after):
    job = JobRecord(id=1, facts=FACTS, jobspec=None, state=State.SCHED, annotations=before)
    context = {} if said is None else {"annotations": said}
    job.apply({"timestamp": 1.0, "name": "alloc", "context": context})
    assert (job.has_resources, job.annotations) == (True, after)


def test_a_memo_is_shown_as_an_annotation_of_the_user_beside_the_others_until_a_null_takes_it_away():
    job = JobRecord(id=1, facts=FACTS, jobspec=None, state=State.SCHED, annotations={"sched": {"why": "x"}})
    job.apply({"timestamp": 1.0, "name": "memo", "context": {"note": "mine"}})
    assert job.annotations == {"sched": {"why": "x"}, "user": {"note": "mine"}}
    job.apply({"timestamp": 2.0, "name": "memo", "context": {"note": None}})
    assert job.annotations == {"sched": {"why": "x"}}
    job.annotations = None
    job.apply({"timestamp": 3.0, "name": "memo", "context": {"note": None}})
    assert job.annotations is None
