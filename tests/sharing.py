"""Knows how tests are shared out among workers: by file, the dearest files first. Knows nothing of brokersim.

By file, because what a file's tests share (an instance, a finished run) is then made once and not in every worker, and
because xdist's own share, a test at a time, looks through all tests that are done after each. Dearest first, because a
long file that begins last leaves the other cores idle: those beside the folders are collected last.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling

#: Files whose tests take the longest one after the other (real peers and browsers wait most of it), in this order: what
#: follows on them is short. A file that is missing here costs a little time, no more.
FIRST = (
    "tests/interop/",
    "tests/lab/show/test_every_page_in_a_browser.py",
    "tests/benchmarks/test_benchmarks.py",
    "tests/kit/test_plugin.py",
    "tests/test_readme.py",
    "tests/cli/top/test_app.py",
    "tests/lab/sweep/test_intervals.py",
    "tests/lab/measure/test_homes.py",
    "tests/cli/test_live.py",
    "tests/lab/show/test_plots.py",
    "tests/explore/test_search.py",
    "tests/instance/test_determinism.py",
    "tests/explore/test_clean.py",
    "tests/kit/test_example.py",
    "tests/cli/bench/test_commands.py",
    "tests/test_layers.py",
    "tests/net/test_module_process.py",
    "tests/net/test_serve.py",
    "tests/kit/test_door.py",
    "tests/cli/bench/test_arrays.py",
    "tests/lab/experiments/test_resolution.py",
    "tests/modules/test_job_exec.py",
    "tests/explore/test_planted.py",
    "tests/modules/probe/test_isolation.py",
    "tests/cli/check/test_command.py",
    "tests/cli/test_live_workloads.py",
    "tests/lab/show/test_golden.py",
    "tests/test_packaging.py",
    "tests/native/test_lines.py",
    "tests/lab/experiments/test_costs.py",
    "tests/lab/show/test_pages_in_a_browser.py",
    "tests/kit/test_docs.py",
    "tests/test_measures.py",
    "tests/test_patterns.py",
)


def rank(nodeid: str) -> int:
    """Where in the order a test begins; those that are in no haste keep their order behind the others."""
    return next((at for at, name in enumerate(FIRST) if nodeid.startswith(name)), len(FIRST))


class ByFile(LoadGroupScheduling):
    """Tests of one `xdist_group` together, and else those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).split("::")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False  # by our order, not by how many they are
    return ByFile(config, log)
