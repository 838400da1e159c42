"""Knows how a search, a find and a replay are told: lines for people, one document for programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import Outcome
from brokersim.explore.search import Find, Report
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

#: Lines of a find at most: sentences, steps and messages have their shares.
_SENTENCES, _ITEMS, _MESSAGES = 2, 6, 4


def find_lines(find: Find, path: Path) -> list[str]:
    """The sentence, the plan, the last messages, and what to type: 15 lines at most."""
    if find.is_flaky:
        return [
            f"NOT REPRODUCIBLE: {find.broken[0]}",
            f"  the same plan ran otherwise the second time, which is brokersim's fault; it is kept in {path}",
        ]
    lines = [f"✗ {sentence}" for sentence in find.broken[:_SENTENCES]]
    plan = find.plan
    how = f"shrunk from {counted(find.weight, 'step')} and faults in {counted(find.runs, 'run')}"
    if find.is_as_found:
        how = f"not shrunk, as it was broken off: {counted(find.weight, 'step')} and faults"
    ranks = counted(plan.size, "rank")
    lines.append(f"  {ranks}, hand-overs up to {plan.spread:g} s late; {how}:")
    items = [*map(_step, plan.steps), *map(_fault, plan.faults)]
    lines += items[:_ITEMS]
    if len(items) > _ITEMS:
        lines.append(f"    and {len(items) - _ITEMS} more")
    lines += [f"  {line.strip()}" for line in _involved(find)]
    lines.append(f"replay: brokersim explore --replay {shlex.quote(str(path))} --trace")
    return lines


def _involved(find: Find) -> list[str]:
    """The last messages of the example itself: behind the first of a client's step, without goodbyes."""
    told = [line for line in find.trace if ".disconnect" not in line and ".stats-get" not in line]
    return told[-_MESSAGES:]


def _moment(item: Step | PlannedFault) -> str:
    if item.on is not None:
        topic, rank, number = item.on
        return f"at {topic} no. {number} on rank {rank}"
    return f"at {item.at:g} s"


def _step(step: Step) -> str:
    args = " ".join(f"{name}={_short(value)}" for name, value in step.args.items())
    return f"    step {step.id}: {step.op} {args} on rank {step.rank} {_moment(step)}".replace("  ", " ", 0)


def _fault(fault: PlannedFault) -> str:
    to = f" {fault.to}" if fault.to else ""
    return f"    fault: {fault.kind}{to} on rank {fault.rank} {_moment(fault)}, for {fault.seconds:g} s"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]}…"


def report_lines(report: Report, model: str) -> list[str]:
    """How much was seen, and what was not."""
    hits = ", ".join(f"{kind} {count}" for kind, count in sorted(report.hits.items())) or "none"
    clean = ", all clean" if report.find is None and report.examples else ""
    lines = [f"broken off{clean}; until then:"] if report.is_broken_off else []
    lines += [
        f"{counted(report.examples, 'example')}, {report.rate:.0f} a second; faults that hit: {hits}",
        f"{len(report.seen):,} (module, topic, outcome), {report.new_at_the_end} of them new in the last fifth",
    ]
    idle = report.idle(model)
    if report.is_broken_off:
        return lines  # too few to wonder what they did not do
    if idle and report.find is None:
        lines.append(f"warning: never hit: {', '.join(idle)}")
    if report.refused():
        lines.append(f"warning: always refused: {', '.join(report.refused())}")
    return lines


def to_json(report: Report, model: str, path: Path | None) -> JsonObject:
    """One document of a search."""
    find = report.find
    return {
        "ok": find is None,
        "broken_off": report.is_broken_off,
        "examples": report.examples,
        "examples_per_second": round(report.rate, 1),
        "hits": dict(sorted(report.hits.items())),
        "never_hit": report.idle(model),
        "always_refused": report.refused(),
        "seen": len(report.seen),
        "new_in_last_fifth": report.new_at_the_end,
        "find": None
        if find is None
        else {
            "broken": list(find.broken),
            "plan": _plan(find.plan),
            "file": str(path),
            "seed": find.seed,
            "reproducible": not find.is_flaky,
            "weight_before": find.weight,
            "runs": find.runs,
            "seconds": round(find.seconds, 3),
        },
    }


def _plan(plan: Plan) -> Any:
    import msgspec

    return msgspec.json.decode(plan.to_json())


def replay_lines(outcome: Outcome, shows_trace: bool) -> list[str]:
    """What broke again, or nothing."""
    lines = list(map(str, outcome.trace)) if shows_trace else []
    lines += [f"✗ {sentence}" for sentence in outcome.broken] or ["✓ nothing broke"]
    return [*lines, f"{counted(outcome.messages, 'message')}, digest {outcome.digest[:16]}"]


def replay_json(plan: Plan, outcome: Outcome, shows_trace: bool) -> JsonObject:
    """One document of a replay."""
    found = {
        "ok": not outcome.broken,
        "broken": list(outcome.broken),
        "messages": outcome.messages,
        "digest": outcome.digest,
        "plan": _plan(plan),
    }
    return {**found, "trace": list(map(str, outcome.trace))} if shows_trace else found
