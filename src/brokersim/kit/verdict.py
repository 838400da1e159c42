"""Knows how a run compares with its baseline, counter by counter; not where either comes from or how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import attrs

from brokersim.kit.baseline import Baseline
from brokersim.kit.checked_run import CheckedRun
from brokersim.kit.cost import Cost, CostBound, cost
from brokersim.kit.laws import Violation
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

_TOPICS = 8


@attrs.frozen(kw_only=True)
class Compared:
    """One counter, or one average per operation: expected, got, the percent allowed, and the topics that moved."""

    name: str
    expected: float
    got: float
    percent: float
    per: str = ""
    topics: tuple[tuple[str, int], ...] = ()

    @property
    def ok(self) -> bool:
        slack = self.expected * self.percent / 100
        # Averages are quotients: the slack of one part in 10^9 is for their last digits.
        return abs(self.got - self.expected) <= slack + 1e-9 * abs(self.expected)

    @property
    def off_percent(self) -> float | None:
        """By how much it is off; None if nothing was expected."""
        return (self.got - self.expected) / self.expected * 100 if self.expected else None

    def __str__(self) -> str:
        allowed = f" ±{self.percent:g} %" if self.percent else ""
        average = f" ({self.per}{allowed})" if self.per else allowed
        off = self.off_percent
        change = "new" if off is None else f"{off:+.1f} %"
        if not self.got:
            change = "gone"
        return (
            f"{self.name}   expected {_number(self.expected)}{average}   got {_number(self.got)} ({change})"
        )

    def to_dict(self) -> JsonObject:
        return {
            "name": self.name,
            "ok": self.ok,
            "expected": self.expected,
            "got": self.got,
            "tolerance_percent": self.percent,
            "off_percent": self.off_percent,
            "per_operation": self.per or None,
            "topics": dict(self.topics),
        }


@attrs.frozen(kw_only=True)
class Verdict:
    """What a check found; of the cost if it was bounded. ``notes`` are remarks that fail nothing."""

    compared: tuple[Compared, ...] = ()
    violations: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()
    cost: Cost | None = None

    @property
    def differing(self) -> tuple[Compared, ...]:
        return tuple(one for one in self.compared if not one.ok)

    @property
    def failures(self) -> int:
        return len(self.differing) + len(self.violations) + self.is_costly

    @property
    def is_costly(self) -> bool:
        return self.cost is not None and not self.cost.ok


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def judge(
    run: CheckedRun, baseline: Baseline | None, per: str = "", bound: CostBound | None = None
) -> Verdict:
    """Compare a run with a baseline (none: only the laws), counter by counter, or their averages per operation.

    And with a bound on its cost. Raises ValueError if the baseline has no such operation.
    """
    paid = None if bound is None else cost(run.used, run.counted.operations, bound)
    if baseline is None:
        return Verdict(violations=run.violations, cost=paid)
    if per and per not in baseline.operations:
        known = ", ".join(baseline.operations) or "none"
        raise ValueError(f"no operation {per!r} in the baseline; it has {known}")
    compared = _averages(run.counted, baseline, per) if per else _counters(run.counted, baseline)
    return Verdict(
        compared=compared, violations=run.violations, notes=_notes(run.counted, baseline), cost=paid
    )


def _counters(got: Baseline, expected: Baseline) -> tuple[Compared, ...]:
    names = dict.fromkeys((*expected.counters, *got.counters))
    return tuple(
        Compared(
            name=name,
            expected=expected.counters.get(name, 0),
            got=got.counters.get(name, 0),
            percent=expected.tolerance(name),
            per=_per_operation(name, expected),
            topics=_moved(name, got, expected),
        )
        for name in names
        if name not in expected.varying
    )


def _per_operation(name: str, baseline: Baseline) -> str:
    """``90.5/job``: by the first operation there is, jobs before commits."""
    for operation, number in baseline.operations.items():
        if number > 1:
            return f"{_number(round(baseline.counters.get(name, 0) / number, 2))}/{operation}"
    return ""


def _averages(got: Baseline, expected: Baseline, per: str) -> tuple[Compared, ...]:
    wanted = {name: value for name, value in expected.averages().items() if name.endswith(f"/{per}")}
    found = got.averages()
    names = dict.fromkeys((*wanted, *(name for name in found if name.endswith(f"/{per}"))))
    return tuple(
        Compared(
            name=name,
            expected=wanted.get(name, 0),
            got=found.get(name, 0),
            percent=expected.tolerance(name),
        )
        for name in names
        if name.rpartition("/")[0] not in expected.varying
    )


def _moved(name: str, got: Baseline, expected: Baseline) -> tuple[tuple[str, int], ...]:
    """The topics behind a difference, the largest first."""
    party, _, counter = name.rpartition(".")
    now, before = got.topics.get(party, {}), expected.topics.get(party, {})
    moved = {
        key.partition(" ")[2]: now.get(key, 0) - before.get(key, 0)
        for key in dict.fromkeys((*before, *now))
        if key.partition(" ")[0] == counter
    }
    ordered: Sequence[tuple[str, int]] = sorted(moved.items(), key=lambda item: (-abs(item[1]), item[0]))
    return tuple(item for item in ordered if item[1])[:_TOPICS]


def _is_for(glob: str, counter: str) -> bool:
    # A tolerance may also be for an average: kvs.0.request_rx/job.
    return fnmatchcase(counter, glob) or fnmatchcase(counter, glob.rpartition("/")[0])


def _notes(got: Baseline, expected: Baseline) -> tuple[str, ...]:
    notes = [
        f"{name}: {expected.settings.get(name)!r} in the baseline, {value!r} here"
        for name, value in got.settings.items()
        if name in expected.settings and expected.settings[name] != value
    ]
    notes += [
        f"operations: {expected.operations.get(name, 0)} × {name} in the baseline, {got.operations.get(name, 0)} here"
        for name in dict.fromkeys((*expected.operations, *got.operations))
        if expected.operations.get(name, 0) != got.operations.get(name, 0)
    ]
    ours, theirs = got.versions.get("brokersim", ""), expected.versions.get("brokersim", "")
    if theirs and ours != theirs:
        notes.append(f"brokersim {theirs} made the baseline, this is {ours}")
    known = (*expected.counters, *expected.varying, *got.counters)
    notes += [
        f"tolerance {glob!r} is for no counter there is"
        for glob in expected.tolerances
        if not any(_is_for(glob, name) for name in known)
    ]
    if got.command != expected.command:
        notes.append(f"command: {' '.join(expected.command)!r} in the baseline")
    if expected.varying:
        notes.append(
            f"not compared, for they vary from run to run: {counted(len(expected.varying), 'counter')}"
        )
    return tuple(notes)
