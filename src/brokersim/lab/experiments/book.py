"""Knows the chapters of the journal's book: each experiment with the parameters of a preset.

Doesn't know how a chapter is drawn (report).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from brokersim.lab.experiments.registry import NAMES, experiment
from brokersim.lab.result import Result, Say, silent

CHAPTERS = NAMES


def covers(chapter: str) -> tuple[str, ...]:
    """What a chapter covers of the journal: ids of its checklist and laws."""
    return experiment(chapter).covers


def chapters(
    names: Iterable[str], given: Mapping[str, Any], preset: str, say: Say = silent, workers: int = 1
) -> Iterator[Result]:
    """Each experiment's result. ``given`` goes to those whose plans have such a field. Raises ValueError."""
    for name in names:
        chapter: Say = _named(say, name)
        chapter("begins")
        one = experiment(name)
        yield one.find(one.make_plan({**one.book, **one.fields(given)}, preset), chapter, workers)


def _named(say: Say, name: str) -> Say:
    return lambda text: say(f"{name}: {text}")
