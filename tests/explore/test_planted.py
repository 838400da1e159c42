"""Bugs planted in copies of shipped modules are found, by seeds from which that takes a moment."""

from __future__ import annotations

import pytest

from tests.explore.planted import PLANTED, find, plant

#: By number in PLANTED: a seed that finds it, and what is said first. benchmarks/explore.py searches from seed 0.
QUICK = {
    0: (0, "kvs: "),
    2: (24, "kvs: "),
    4: (104, "answered: "),
    5: (20, "content: "),
    8: (0, "jobs: "),
    15: (143, "jobs: "),
    71: (144, "content: the flush of step "),
    84: (2, "kvs: "),
}


@pytest.mark.parametrize("number", QUICK)
def test_a_planted_bug_is_found_and_shrunk_to_five_steps_at_most(number, tmp_path):
    seed, says = QUICK[number]
    found = find(PLANTED[number], tmp_path, 60, range(seed, seed + 1)).find
    assert found is not None and found.broken[0].startswith(says)
    assert found.plan.weight <= 5


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_each_bug_can_still_be_planted(bug, tmp_path):
    assert bug.now in (plant(bug, tmp_path) / bug.file).read_text()
