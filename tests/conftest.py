"""Knows how hard the suite looks (the hypothesis profiles) and how it is run. Knows nothing of brokersim."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.costs import Costs
from tests.effort import SAME, examples
from tests.sharing import pytest_collection_modifyitems, pytest_xdist_make_scheduler

__all__ = [
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_teardown",
    "pytest_xdist_make_scheduler",
]

# As a user's shell starts them: a Python that may keep nothing of what it compiled compiles every file anew in each of
# the thousand processes of the suite, and rewrites the assertions of each test file anew in each worker.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

PROFILE_VARIABLE = "BROKERSIM_HYPOTHESIS_PROFILE"

# No deadline: two cores are shared by the workers, so one slow example says nothing about the code.
# `make test` draws the same examples in every run, and fewer: what is red is then red for what was changed. Each other
# run draws new ones, and `make hunt` is for nothing else.
settings.register_profile("dev", max_examples=examples(50), deadline=None, derandomize=SAME, print_blob=True)
# 10,000: the number the wire codec's promise is stated with (no bytes raise anything but its one error); `make hunt`
# draws as many new ones.
settings.register_profile(
    "slow",
    max_examples=examples(10_000),
    deadline=None,
    derandomize=SAME,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get(PROFILE_VARIABLE, "dev"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is collected stays to the end: it is not looked through for garbage while it grows, nor ever after."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """So is what the tests of a file leave (reports, caches): a test that looks for what is left sees its own."""
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
