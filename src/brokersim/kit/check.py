"""Knows a check from its plan to its verdict: its runs, judged one by one, and the record. Prints nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from brokersim import files
from brokersim.kit.baseline import merged
from brokersim.kit.check_plan import CheckError, CheckPlan, Point
from brokersim.kit.check_runs import Gathered, gathered_parts, run_point
from brokersim.kit.checked_run import CheckedRun
from brokersim.kit.verdict import Verdict, judge

#: Exit code of a check that found something.
FAILED = 1


@attrs.frozen(kw_only=True)
class Judged:
    """One run and what was found of it."""

    point: Point
    run: CheckedRun
    verdict: Verdict

    @property
    def is_well(self) -> bool:
        return not (self.run.code or self.verdict.failures)

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


@attrs.frozen(kw_only=True)
class Checked:
    """What came of a check. ``recorded`` is the baseline's file, None if none was wanted or the runs are none to keep.

    Whoever tells of one run tells of the first that is not well, or else of the first: ``shown``.
    """

    plan: CheckPlan
    judged: tuple[Judged, ...]
    recorded: Path | None = None

    @property
    def bad(self) -> tuple[Judged, ...]:
        """The runs that are not well."""
        return tuple(one for one in self.judged if not one.is_well)

    @property
    def shown(self) -> Judged:
        return next(iter(self.bad), self.judged[0])

    @property
    def code(self) -> int:
        """0 all is well, 1 something differs or a law is broken, else what the command ended with."""
        if any(one.verdict.failures for one in self.judged):
            return FAILED
        return self.shown.run.code

    @property
    def state(self) -> str:
        """The worst of the runs' states; a command that failed says nothing of any."""
        return max((one.state for one in self.judged), key=_STATES.index)

    @property
    def why_not_recorded(self) -> str:
        """Empty if the baseline was written, or none was wanted."""
        if self.plan.record is None or self.recorded is not None:
            return ""
        if self.shown.run.code:
            return f"the command ended with {self.shown.run.code}: no baseline is written"
        return "no baseline is written: something differs, costs too much or breaks a law"


#: From the best to the worst.
_STATES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def check(plan: CheckPlan, timeout: float | None = None, gathered: Gathered | None = None) -> Checked:
    """Run the plan, or take the runs that an array job has made, and record its baseline if all is well.

    Raises StartError, Overtime after ``timeout`` real seconds a run, CheckError for a file that cannot be written,
    PartsError for one of an array job that cannot be read.
    """
    with gathered_parts(plan, gathered) as parts:
        judged = []
        for point in plan.points:
            run = run_point(plan, point, parts, timeout)
            verdict = judge(run, plan.baseline, plan.per, plan.max_cost)
            judged.append(Judged(point=point, run=run, verdict=verdict))
            if plan.record is not None and not judged[-1].is_well:
                break  # nothing will be recorded: the other runs would tell nobody anything
        found = Checked(plan=plan, judged=tuple(judged))
        if plan.record is None or found.bad:
            return found
        counted = merged([one.run.counted for one in judged])
        if plan.edited is not None:
            # Tolerances and relaxations were written by people.
            counted = attrs.evolve(counted, tolerances=plan.edited.tolerances, relaxed=plan.edited.relaxed)
        write_file(plan.record, counted.to_toml())
    return attrs.evolve(found, recorded=plan.record)


def write_file(file: Path, data: bytes | str) -> None:
    """Whole or not at all: a check that is broken off must not leave half a file. Raises CheckError."""
    try:
        files.write_file(file, data)
    except OSError as error:
        raise CheckError(f"{file}: cannot be written: {error.strerror}") from None
