"""Knows the chapters of the journal's book: each experiment with the parameters of a preset, and the open question.

Doesn't know how a chapter is drawn (report).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import attrs

from brokersim.lab.experiments.registry import NAMES, experiment
from brokersim.lab.experiments.study import study
from brokersim.lab.result import Result, Say, silent
from brokersim.lab.sweep.plan_file import SweepPlan
from brokersim.lab.sweep.sweep import RunFile

#: The open question is a sweep with a plan of its own; in the book it is a chapter like the others.
QUESTION = "intervals"
SIZES: Mapping[str, Mapping[str, int]] = {
    "small": {"jobs": 60, "points": 3},
    "journal": {"jobs": 1_000, "points": 12},
}
CHAPTERS = (*NAMES, QUESTION)


def covers(chapter: str) -> tuple[str, ...]:
    """What a chapter covers of the journal: ids of its checklist and laws."""
    return ("the open question",) if chapter == QUESTION else experiment(chapter).covers


def chapters(
    names: Iterable[str], given: Mapping[str, Any], preset: str, say: Say = silent, workers: int = 1
) -> Iterator[Result]:
    """Each experiment's result. ``given`` goes to those whose plans have such a field. Raises ValueError."""
    for name in names:
        chapter: Say = _named(say, name)
        chapter("begins")
        if name == QUESTION:
            yield _question(given, preset, chapter, workers)
            continue
        one = experiment(name)
        fields = {key: value for key, value in given.items() if one.has(key)}
        yield one.find(one.make_plan({**one.book, **fields}, preset), chapter, workers)


def _named(say: Say, name: str) -> Say:
    return lambda text: say(f"{name}: {text}")


def _question(given: Mapping[str, Any], preset: str, say: Say, workers: int) -> Result:
    sizes = {**SIZES[preset], **{key: given[key] for key in ("jobs",) if key in given}}
    plan = attrs.evolve(SweepPlan(), **sizes, seeds=(given.get("seed", 0),))
    with closing(RunFile(None)) as file:
        return study(plan, file, workers=workers, say=say)
