"""Knows a check from its plan to its verdict: run, judge, record. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from brokersim.kit.baseline import Baseline, merged
from brokersim.kit.check_plan import CheckError, CheckPlan
from brokersim.kit.checked_run import CheckedRun, run_checked
from brokersim.kit.verdict import Verdict, judge

#: Exit code of a check that found something.
FAILED = 1


@attrs.frozen(kw_only=True)
class Checked:
    """What came of a check. ``recorded`` is the baseline's file, None if none was wanted or the run is none to keep."""

    plan: CheckPlan
    run: CheckedRun
    verdict: Verdict
    recorded: Path | None = None

    @property
    def code(self) -> int:
        """0 all is well, 1 something differs or a law is broken, else what the command ended with."""
        return FAILED if self.verdict.failures else self.run.code

    @property
    def state(self) -> str:
        """As monitoring says it: fewer messages than expected are a WARNING; more, a broken law or cost, CRITICAL.

        Where the command failed its counters mean nothing: UNKNOWN.
        """
        if self.run.code:
            return "UNKNOWN"
        verdict, differing = self.verdict, self.verdict.differing
        if verdict.violations or verdict.is_costly or any(one.got > one.expected for one in differing):
            return "CRITICAL"
        return "WARNING" if differing else "OK"

    @property
    def why_not_recorded(self) -> str:
        """Empty if the baseline was written, or none was wanted."""
        if self.plan.record is None or self.recorded is not None:
            return ""
        if self.run.code:
            return f"the command ended with {self.run.code}: no baseline is written"
        return "no baseline is written: something differs, costs too much or breaks a law"


def check(plan: CheckPlan, timeout: float | None = None) -> Checked:
    """Run the plan and record its baseline if all is well.

    Raises StartError, Overtime after ``timeout`` real seconds, CheckError for a file that cannot be written.
    """
    run = run_checked(plan.options, plan.laws, plan.relaxed, timeout)
    verdict = judge(run, plan.baseline, plan.per, plan.max_cost)
    found = Checked(plan=plan, run=run, verdict=verdict)
    if plan.record is None or run.code or verdict.failures:
        return found
    counted = _several(plan, run, timeout)
    if plan.edited is not None:
        # Tolerances and relaxations were written by people.
        counted = attrs.evolve(counted, tolerances=plan.edited.tolerances, relaxed=plan.edited.relaxed)
    replace_file(plan.record, lambda path: path.write_text(counted.to_toml(), encoding="utf-8"))
    return attrs.evolve(found, recorded=plan.record)


def _several(plan: CheckPlan, run: CheckedRun, timeout: float | None) -> Baseline:
    more = [run_checked(plan.options, (), {}, timeout).counted for _ in range(plan.runs - 1)]
    return merged([run.counted, *more])


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all: a check that is broken off must not leave half a file. Raises CheckError."""
    new = file.with_name(f"{file.name}.new")
    try:
        write(new)
        os.replace(new, file)
    except OSError as error:
        raise CheckError(f"{file}: cannot be written: {error.strerror}") from None
