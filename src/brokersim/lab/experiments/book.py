"""Knows the chapters of the journal's book: each experiment with the parameters of a preset.

Doesn't know how a chapter is drawn (report).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from brokersim.lab.experiments.registry import NAMES, experiment
from brokersim.lab.keep.parts import NOWHERE, PartFile, Parts, names_in
from brokersim.lab.result import Result, Say, silent
from brokersim.lab.sweep.arrays import Share
from brokersim.version import VERSION

CHAPTERS = NAMES


def covers(chapter: str) -> tuple[str, ...]:
    """What a chapter covers of the journal: ids of its checklist and laws."""
    return experiment(chapter).covers


def chapters(
    names: Iterable[str],
    given: Mapping[str, object],
    preset: str,
    say: Say = silent,
    workers: int = 1,
    parts: Parts = NOWHERE,
) -> Iterator[Result]:
    """Each experiment's result. ``given`` goes to those whose plans have such a field. Raises ValueError.

    A chapter that is among the ``parts`` is not run again.
    """
    for name in names:
        chapter: Say = _named(say, name)
        chapter("begins")
        one = experiment(name)
        plan = one.make_plan({**one.book, **one.fields(given)}, preset)
        yield parts.once(name, partial(one.find, plan, chapter, workers, parts.within(name)))


@contextmanager
def part_file(book: Path, given: Mapping[str, object], preset: str, command: str) -> Iterator[PartFile]:
    """The chapters that are done of a book, beside its folder until it is whole. Raises PartsError."""
    file = PartFile(book, repr(("journal", sorted(given.items()), preset, VERSION)), command)
    try:
        yield file
    finally:
        file.close()


def left(names: Iterable[str], book: Path) -> list[str]:
    """The chapters that are not done yet. Raises PartsError."""
    done = names_in(book)
    return [name for name in names if name not in done]


def write_share(
    names: Sequence[str], given: Mapping[str, Any], preset: str, book: Path, share: Share, say: Say = silent
) -> int:
    """An array job's element: its share of the chapters that are left; how many. Raises PartsError, ValueError."""
    wanted = left(names, book)
    mine = [wanted[at] for at in share.span(len(wanted))]
    with part_file(share.path(book), given, preset, "") as file:
        for _ in chapters(mine, given, preset, say, 1, Parts(file)):
            pass
    share.mark(book).touch()
    return len(mine)


def _named(say: Say, name: str) -> Say:
    return lambda text: say(f"{name}: {text}")
