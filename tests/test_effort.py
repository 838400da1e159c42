"""A run that draws the same examples each time looks at a share of them, and compiles nothing twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

from tests.effort import FEW, SAME, examples

ROOT = Path(__file__).resolve().parent.parent


def test_all_are_looked_at_where_they_are_new_and_two_of_five_where_they_are_the_same() -> None:
    assert [examples(number, same=False) for number in (1, 50, 25_000)] == [1, 50, 25_000]
    assert [examples(number, same=True) for number in (20, 50, 25_000)] == [8, 20, 10_000]


def test_of_few_all_are_looked_at() -> None:
    assert [examples(number, same=True) for number in (1, FEW, FEW + 1, 12)] == [1, FEW, FEW, FEW]


@pytest.mark.skipif("BROKERSIM_HYPOTHESIS_PROFILE" in os.environ, reason="another profile was asked for")
def test_what_names_no_number_looks_at_as_many_as_the_profile_says() -> None:
    assert settings().max_examples == examples(50)
    assert settings().derandomize is SAME


def test_what_make_runs_may_keep_what_it_compiled() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "--eval", "told: ; @echo $${PYTHONDONTWRITEBYTECODE-may}", "told"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (told.stdout, told.stderr) == ("may\n", "")
