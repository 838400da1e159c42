"""A test that costs too much is told and fails; the dearest of a run are shown."""

from __future__ import annotations

import math

import pytest

from tests.costs import DEAREST, HARDER, LIMIT, Costs

pytest_plugins = ["pytester"]

SPENDS = """
import pytest, subprocess, sys, time

def spend(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

@pytest.fixture
def dear():
    spend(0.15)

def test_dear_by_its_fixture(dear): ...

def test_dear_by_its_child():
    words = "import time\\nwhile time.process_time() < 0.15: pass"
    subprocess.run([sys.executable, "-c", words])

@pytest.mark.slow
def test_may_be(): spend(0.15)

@pytest.mark.parametrize("number", range(%d))
def test_cheap(number): ...
"""


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HARDER:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("usual")
def test_a_test_is_dear_by_what_it_its_fixtures_and_its_children_compute(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = slow")
    pytester.makepyfile(SPENDS % DEAREST)
    costs = Costs(limit=0.1, slow=5.0)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", plugins=[costs])
    done.assert_outcomes(passed=DEAREST + 3, errors=2)
    done.stdout.fnmatch_lines(
        [
            "*test_dear_by_its_fixture took 0.* s of CPU time; a test may take 0.1.*",
            "*test_dear_by_its_child took 0.* s of CPU time; a test may take 0.1.*",
            f"*CPU seconds: ? in {DEAREST + 3} tests; the dearest*",
        ]
    )
    assert {name.split("::")[1] for name, _ in costs.told.most_common(3)} == {
        "test_dear_by_its_fixture", "test_dear_by_its_child", "test_may_be"
    }  # fmt: skip


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("name", HARDER)
def test_a_run_that_is_told_to_look_harder_has_no_limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert (Costs().limit, Costs(1.0, 2.0).slow) == (LIMIT, 2.0)
    monkeypatch.setenv(name, "1")
    assert Costs().limit == Costs().slow == math.inf
