"""Knows what each test costs: tells the dearest, fails one that costs more than a test may. Knows nothing of brokersim.

CPU time, of the test and of the processes it waited for: time by the clock says nothing about a test on a busy machine.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Generator

import pytest

#: CPU seconds a test may take, its fixtures included, and one that is marked ``slow``; the dearest take half of it on a
#: machine where a second of CPU time does half of what it can.
LIMIT, SLOW = 30.0, 90.0
#: Variables by which a run is told to look harder, or at each line; it takes then what it takes.
HARDER = (
    "BROKERSIM_HYPOTHESIS_PROFILE",
    "BROKERSIM_FUZZ_INPUTS",
    "BROKERSIM_FUZZ_PAYLOADS",
    "BROKERSIM_KILLS",
    "BROKERSIM_CUTS",
    "BROKERSIM_TESTS_WITHIN",
)
#: How many are told, of a run of more tests than that.
DEAREST = 10


def spent() -> float:
    """CPU seconds of this process and of the children it waited for."""
    return sum(os.times()[:4])


class Costs:
    """A plugin of pytest. In a worker only its reports count: they bring what was spent to where the run is told."""

    def __init__(self, limit: float = LIMIT, slow: float = SLOW) -> None:
        self.limit, self.slow = (math.inf, math.inf) if any(map(os.environ.get, HARDER)) else (limit, slow)
        self.seen, self.here = spent(), 0.0
        self.told: Counter[str] = Counter()

    def pytest_runtest_logstart(self) -> None:
        self.seen, self.here = spent(), 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        before, self.seen = self.seen, spent()
        self.here += self.seen - before
        vars(report)["cpu"] = self.here
        limit = self.slow if item.get_closest_marker("slow") else self.limit
        if report.when == "teardown" and report.passed and self.here > limit:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {self.here:.1f} s of CPU time; a test may take {limit:g}."
                " Make it smaller; if that cannot be, mark it slow (tests/costs.py)."
            )
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.told[report.nodeid] = vars(report).get("cpu", 0.0)  # none if its worker died

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if len(self.told) <= DEAREST:
            return
        terminalreporter.section(
            f"CPU seconds: {self.told.total():.0f} in {len(self.told)} tests; the dearest"
        )
        for name, seconds in self.told.most_common(DEAREST):
            terminalreporter.write_line(f"{seconds:6.1f}  {name}")
