"""Why a job was no success, in words."""

from __future__ import annotations

import pytest

from brokersim.protocol.job_facts import JobFacts
from brokersim.protocol.job_record import JobRecord


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
    facts = JobFacts(name="x", ntasks=1, nnodes=1, ncores=1, duration=0.0)
    job = JobRecord(id=1, facts=facts, jobspec=None, status=status, exception=exception)
    assert (job.errstr(), job.result) == (says, result)
    assert job.success == (says == "")
