"""Knows how a verdict is shown: text, JSON, JUnit's XML, one line for Nagios. Not how it was reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from brokersim.kit.check import Checked, Judged
from brokersim.kit.laws import LAWS, Violation
from brokersim.kit.verdict import Compared
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

#: States of a Nagios check: exit codes by name.
NAGIOS: Final = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
_SUITE: Final = "brokersim check"


def to_text(checked: Checked) -> list[str]:
    """What differs with its topics, the laws broken, and how many were well; of several runs, of each that is not."""
    count, laws = len(checked.judged), len(checked.plan.laws)
    if count == 1:
        return _run_text(checked.shown, laws)
    lines = []
    for one in checked.bad or checked.judged[:1]:
        lines += [f"{one.point}{_ended(one)}:", *(f"  {line}" for line in _run_text(one, laws))]
    well = count - len(checked.bad)
    return [*lines, f"{'✗' if checked.bad else '✓'} {well:,} of {counted(count, 'run')} well"]


def _ended(one: Judged) -> str:
    return f" (the command ended with {one.run.code})" if one.run.code else ""


def _run_text(judged: Judged, laws: int) -> list[str]:
    verdict = judged.verdict
    lines = [f"note: {note}" for note in verdict.notes]
    for one in verdict.differing:
        lines.append(f"✗ {one}")
        lines += [f"    {count:+,d} {topic}" for topic, count in one.topics]
    good = len(verdict.compared) - len(verdict.differing)
    if verdict.compared:
        lines.append(f"✓ {good:,} counter{_s(good)} within tolerance")
    for violation in verdict.violations:
        lines += _violation(violation)
    if verdict.cost is not None:
        lines.append(f"{'✓' if verdict.cost.ok else '✗'} {verdict.cost}")
    kept = laws - len(verdict.violations)
    lines.append(f"✓ {kept} law{_s(kept)} kept")
    if verdict.failures:
        lines.append(f"{verdict.failures} failure{_s(verdict.failures)}")
    return lines


def _violation(violation: Violation) -> list[str]:
    first, *rest = str(violation).splitlines()
    return [f"✗ {first}", *rest]


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def to_json(checked: Checked) -> JsonObject:
    """One document; counters that are well are only counted. Of several runs the one shown, and all under ``runs``."""
    found = {
        **_run_json(checked.shown),
        "ok": not any(one.verdict.failures for one in checked.judged),
        "recorded": None if checked.recorded is None else str(checked.recorded),
    }
    if len(checked.judged) > 1:
        found["runs"] = [
            {"seed": one.point.seed, "run": one.point.run + 1, **_run_json(one)} for one in checked.judged
        ]
    return found


def _run_json(judged: Judged) -> JsonObject:
    verdict, counted = judged.verdict, judged.run.counted
    return {
        "ok": not verdict.failures,
        "command": list(counted.command),
        "command_exit": judged.run.code,
        "settings": counted.settings,
        "operations": counted.operations,
        "compared": len(verdict.compared),
        "differing": [one.to_dict() for one in verdict.differing],
        "laws": [_law(violation) for violation in verdict.violations],
        "cost": None if verdict.cost is None else verdict.cost.to_dict(),
        "notes": list(verdict.notes),
    }


def _law(violation: Violation) -> JsonObject:
    law = violation.law
    return {
        "name": law.name,
        "number": law.number or None,
        "says": law.says,
        "places": list(violation.places),
        "allowed": violation.allowed,
    }


def to_junit(checked: Checked) -> bytes:
    """A test case for the command, for each counter and for each law, as CI services read them.

    Of several runs there is a suite each.
    """
    suites = [_suite(one, checked.plan.laws) for one in checked.judged]
    if len(suites) == 1:
        whole = suites[0]
    else:
        counts = {
            name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in ("tests", "failures")
        }
        whole = ElementTree.Element("testsuites", {"name": _SUITE, **counts})
        for one, suite in zip(checked.judged, suites, strict=True):
            suite.set("name", f"{_SUITE}, {one.point}")
            whole.append(suite)
    found: bytes = ElementTree.tostring(whole, encoding="utf-8", xml_declaration=True)
    return found


def _suite(judged: Judged, laws: Sequence[str]) -> ElementTree.Element:
    verdict, code = judged.verdict, judged.run.code
    cases = 1 + len(verdict.compared) + len(laws) + (verdict.cost is not None)
    failures = verdict.failures + bool(code)
    suite = ElementTree.Element("testsuite", name=_SUITE, tests=str(cases), failures=str(failures))
    _case(suite, "command", "exit code", f"the command ended with {code}" if code else None)
    for one in verdict.compared:
        _case(suite, "counters", one.name, None if one.ok else _told(one))
    if verdict.cost is not None:
        _case(suite, "cost", "max-cost", None if verdict.cost.ok else str(verdict.cost))
    broken = {violation.law.name: str(violation) for violation in verdict.violations}
    for name in laws:
        _case(suite, "laws", LAWS[name].title, broken.get(name))
    return suite


def _told(one: Compared) -> str:
    return "\n".join([str(one), *(f"{count:+,d} {topic}" for topic, count in one.topics)])


def _case(suite: ElementTree.Element, group: str, name: str, failure: str | None) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=f"brokersim.{group}", name=name)
    if failure is not None:
        first = failure.partition("\n")[0]
        ElementTree.SubElement(case, "failure", message=first).text = failure


def to_nagios(checked: Checked) -> str:
    """``BROKERSIM OK - …``: one line; of several runs about the one shown."""
    verdict, laws, code = checked.shown.verdict, len(checked.plan.laws), checked.shown.run.code
    parts = [f"the command ended with {code}"] if code else []
    if len(checked.judged) > 1:
        well = len(checked.judged) - len(checked.bad)
        parts = [f"{well} of {counted(len(checked.judged), 'run')} well", f"{checked.shown.point}", *parts]
    parts += [
        f"{counted(len(verdict.compared) - len(verdict.differing), 'counter')} and "
        f"{counted(laws - len(verdict.violations), 'law')} well"
    ]
    parts += [f"{one.name} {one.got:g} instead of {one.expected:g}" for one in verdict.differing[:3]]
    parts += [f"law {violation.law.name} broken" for violation in verdict.violations]
    parts += [str(verdict.cost)] if verdict.cost is not None and verdict.is_costly else []
    if len(verdict.differing) > 3:
        parts.append(f"and {counted(len(verdict.differing) - 3, 'counter')} more")
    return f"BROKERSIM {checked.state} - {', '.join(parts)}"
