"""What a purge may forget: of the jobs that had ended by then all but those it was to leave."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from brokersim.explore.families.jobs import _too_few
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked


@pytest.mark.parametrize(
    ("gone", "left", "ends", "is_fine"),
    [
        (1, 0, [], True),
        (1, 1, [], False),
        (1, 1, [3.0], True),
        (1, 1, [9.0], False),
        (0, 1, [9.0], True),
        (2, 1, [3.0, 4.0], True),
    ],
)
def test_a_purge_leaves_as_many_as_it_was_told_to(gone, left, ends, is_fine):
    step = Step(id=2, op="jobs.purge", args={"left": left})
    purge = Asked(step, "job-manager.purge", {}, cast(Any, None), 1, 0.0, told=5.0, value={"count": gone})
    job = Asked(Step(id=1, op="jobs.submit"), "job-ingest.submit", {}, cast(Any, None), 0, 0.0)
    asked = [job] * (len(ends) + max(gone, 1))  # whether they were told so or not
    world: Any = SimpleNamespace(acked=lambda op: [purge] if op == "jobs.purge" else [], asked=asked)
    logs = {job: [{"name": "clean", "timestamp": end, "context": {}}] for job, end in enumerate(ends)}
    assert (_too_few(world, logs) == []) == is_fine
