"""Knows how a test explores: a function that says what may be asked and must hold, run for many seeds. Not pytest.

@explore(examples=200, sizes=(1, 4), modules=["./mymod.py"])
def test_mymod(world):
    world.may("mymod.put", key=keys(), value=values())

    @world.always
    def bounded(broker):
        assert broker.module("mymod").used <= 4
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from brokersim.explore.author import Author, integers, keys, merged_families, one_of, values
from brokersim.explore.draw import Space
from brokersim.explore.faults import MODELS
from brokersim.explore.search import Find, keep, read_corpus, search
from brokersim.protocol.plurals import counted

__all__ = ["Explored", "explore", "integers", "keys", "one_of", "values"]
#: Messages shown of a find.
_SHOWN = 8


class Explored(AssertionError):
    """A plan broke something; the text says what, and where the plan is kept."""


def explore(
    *,
    examples: int = 200,
    sizes: tuple[int, int] = (1, 4),
    modules: Sequence[str | Path] = (),
    model: str = "flux",
    seconds: float | None = None,
    seed: int = 0,
) -> Callable[[Callable[[Author], object]], Callable[[], None]]:
    """Call the decorated function with a world for each of so many plans, and fail with the smallest that breaks.

    ``modules`` are paths, relative to the file of the test, or names; ``seconds`` of real time end the search early.
    Plans that broke are kept beside the test, in ``explore-plans/NAME/``, and run first from then on. The function may
    be a coroutine function that awaits nothing.
    """
    if model not in MODELS:
        raise ValueError(f"no model {model!r}; there are {', '.join(MODELS)}")

    def decorate(say: Callable[[Author], object]) -> Callable[[], None]:
        home = Path(inspect.getfile(say)).resolve().parent
        paths = tuple(_path(home, one) for one in modules)
        authors = partial(_said, say)

        def test() -> None:
            families = merged_families(authors())
            wanted = (*authors().families, *(["own"] if "own" in families else []))
            if not wanted:
                raise ValueError(
                    f"{say.__name__} lets clients ask nothing: say world.may(...) or world.shipped(...)"
                )
            space = Space(families=families, wanted=wanted, own=paths, sizes=sizes, model=model)
            corpus = home / "explore-plans" / say.__name__
            report = search(
                space, authors, range(seed, seed + examples), corpus=read_corpus(corpus), seconds=seconds
            )
            if report.find is not None:
                raise Explored(_text(report.find, keep(report.find, corpus), report.examples))

        test.__name__, test.__doc__, test.__module__ = say.__name__, say.__doc__, say.__module__
        return test

    return decorate


def _path(home: Path, given: str | Path) -> str:
    return str((home / given).resolve()) if str(given).endswith(".py") or "/" in str(given) else str(given)


def _said(say: Callable[[Author], object]) -> Author:
    author = Author()
    saying = say(author)
    if inspect.iscoroutine(saying):
        asyncio.run(saying)  # it awaits nothing: this only runs it to its end
    return author


def _text(find: Find, path: Path, examples: int) -> str:
    plan = find.plan
    lines = [
        *find.broken[:3],
        f"found by example {examples}, shrunk from {counted(find.weight, 'step')} and faults to {plan.weight} "
        f"in {counted(find.runs, 'run')}:",
        *(f"  {item.what} {getattr(item, 'args', '') or ''} on rank {item.rank}" for item in plan.items),
        "the last messages:",
        *(f"  {line}" for line in find.trace[-_SHOWN:]),
        f"kept in {path}: it runs first from now on",
    ]
    return "\n".join(lines)
