"""Bugs planted in copies of shipped modules are found, by seeds from which that takes a moment."""

from __future__ import annotations

import ast

import pytest

from tests.explore.planted import PLANTED, find, plant

#: By name: a seed that finds it, and what is said first. benchmarks/explore.py searches from seed 0.
QUICK = {
    "two commits at one time, one lost": (1, "kvs: "),
    "a checkpoint that does not wait for commits": (262, "kvs: "),
    "a second reader of a blob that is forgotten": (80, "answered: "),
    "a store that failed, taken for done": (24, "content: "),
    "cores given back before their job ends": (0, "jobs: "),
    "an exception lost on a job that cleans up": (88, "jobs: "),
    "a flush that failed, answered as done": (76, "content: the flush of step "),
    "versions waited for, forgotten with the first": (2, "kvs: "),
    "a cancelled log, and all others of its client": (0, "records: "),
    "cores of a job manager that went, never free": (707, "jobs: "),
}


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found_and_shrunk_to_five_steps_at_most(name, tmp_path):
    [bug] = [bug for bug in PLANTED if bug.name == name]
    seed, says = QUICK[name]
    found = find(bug, tmp_path, 60, range(seed, seed + 1)).find
    assert found is not None and found.broken[0].startswith(says)
    assert found.plan.weight <= 5


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_each_bug_can_still_be_planted(bug, tmp_path):
    planted = (plant(bug, tmp_path) / bug.file).read_text()
    assert bug.now in planted
    ast.parse(planted)  # a module that cannot be read would be found, and not for what it does
