"""Knows what a family of operations is: how its steps are drawn and done, and what must hold of them at rest."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping

import attrs

from brokersim.explore.plan import Step
from brokersim.explore.world import World
from brokersim.protocol.decoded import JsonObject

#: Draws the arguments of one operation.
Draw = Callable[[random.Random, int], JsonObject]
#: Does it.
Do = Callable[[World, Step], object]


def _nothing(_: World) -> None:
    """A family that needs no preparation."""


async def _ended(_: World) -> None:
    """A family of which nothing goes on by itself."""


@attrs.frozen(kw_only=True)
class Family:
    """Operations on one service, and the sentences that say which of its promises were broken.

    ``modules`` are loaded for it; ``topics`` are those its steps and faults are anchored at; ``draws`` and
    ``does`` have one entry an operation; ``begin`` runs before the first step, ``end`` when faults are healed: it
    lets go what waits, so that all comes to rest, and may raise RequestError. ``check`` is asked then.
    """

    name: str
    modules: tuple[str, ...]
    topics: tuple[str, ...]
    draws: Mapping[str, Draw]
    does: Mapping[str, Do]
    check: Callable[[World], Awaitable[list[str]]]
    #: Arguments that plans of earlier days have not, and that have a meaning if they are not there.
    optional: tuple[str, ...] = ()
    #: By operation the errnums it may be answered with while nothing goes wrong; one that is not here is not judged.
    fair: Mapping[str, Collection[int]] = attrs.field(factory=dict)
    #: Operations that nobody can do: there only for what they do to others.
    never: tuple[str, ...] = ()
    #: Operations that have to meet for something to go wrong; one plan in two has those of one theme alone.
    themes: tuple[tuple[str, ...], ...] = ()
    #: The same where something outlives the instance: only what is kept for good can be missed.
    lasting: tuple[tuple[str, ...], ...] = ()
    #: (anchor, topic): half of its requests that fail are of the topic, right behind an anchor on rank 0. Where many
    #: ask for the same, such as commits, that says whose fails.
    failures: tuple[tuple[str, str], ...] = ()
    #: Those of ``topics`` that are events: half of what loses its order, comes late or twice is one.
    events: tuple[str, ...] = ()
    #: By operation, (anchor, module): the same of modules of rank 0 that are loaded anew or end in the middle of what
    #: they owe to who asked for that.
    reloads: Mapping[str, tuple[tuple[str, str], ...]] = attrs.field(factory=dict)
    #: Delays of hand-overs (s): none, about a handler's, a hop's, and far more than either.
    spreads: tuple[float, ...] = (0.0, 2e-6, 20e-6, 100e-6, 1e-3)
    begin: Callable[[World], object] = _nothing
    end: Callable[[World], Awaitable[None]] = _ended
    #: Modules whose end loses what was promised, so that only an orderly reload of them is a fault to survive.
    lossy: tuple[str, ...] = ()
    #: Modules that three plans in four do without, where nothing is to outlive the instance: a fifth of a run.
    spare: tuple[str, ...] = ()
    #: What only these keep: while they are not there it is neither ended nor loaded anew.
    kept_by_spare: tuple[str, ...] = ()
    #: Steps of an example at most: what takes hundreds of messages each is asked for less often.
    most: int = 16
    #: Operations without which there is nothing the others could be about, and how much each makes: a plan has one of
    #: them at least, and no more than make ``most_made`` together.
    makes: Mapping[str, int] = attrs.field(factory=dict)
    most_made: int = 100
    #: `check` knows what holds when the whole instance crashed and was started anew with its state directory.
    survives: bool = False

    @property
    def making(self) -> set[str]:
        """The names of `makes` in a plan."""
        return {f"{self.name}.{verb}" for verb in self.makes}
