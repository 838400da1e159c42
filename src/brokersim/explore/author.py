"""Knows what whoever explores says of one example: what clients may ask, and what must always or in the end hold."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from brokersim.explore.families import FAMILIES
from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import World
from brokersim.protocol.decoded import JsonObject

#: Draws one value.
Values = Callable[[random.Random], Any]


@attrs.frozen
class May:
    """A request that clients may send: how its payload is drawn."""

    topic: str
    fields: dict[str, Any]

    def draw(self, rng: random.Random) -> JsonObject:
        """A payload: values as they are, functions of a generator called."""
        return {name: value(rng) if callable(value) else value for name, value in self.fields.items()}


def keys(*names: str) -> Values:
    """One of few names (``a``, ``b``, ``c``), so that requests meet."""
    return one_of(*(names or ("a", "b", "c")))


def values() -> Values:
    """A short text, mostly another one."""
    return lambda rng: f"v{rng.randrange(1000)}"


def integers(low: int, high: int) -> Values:
    """A whole number, both ends included."""
    return lambda rng: rng.randint(low, high)


def one_of(*choices: object) -> Values:
    """One of these."""
    return lambda rng: rng.choice(choices)


@attrs.define(eq=False)
class Author:
    """What was said; nothing, when shipped modules are explored."""

    families: list[str] = attrs.field(factory=list)
    #: Folders in which modules are searched before those that ship.
    module_path: tuple[Path, ...] = ()
    asks: list[May] = attrs.field(factory=list)
    always_checks: list[Callable[[Any], object]] = attrs.field(factory=list)
    rest_checks: list[Callable[[Any], Awaitable[object]]] = attrs.field(factory=list)

    def may(self, topic: str, **fields: object) -> None:
        """Clients may send this request; each field is a value, or draws one (see `keys`)."""
        self.asks.append(May(topic, fields))

    def shipped(self, *names: str) -> None:
        """Clients also do what these families do, and their invariants hold. Raises ValueError for no such family."""
        for name in names:
            if name not in FAMILIES:
                raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
            self.families.append(name)

    def always(self, check: Callable[[Any], object]) -> Callable[[Any], object]:
        """``check(broker)`` raises AssertionError when it does not hold; it is called after every message."""
        self.always_checks.append(check)
        return check

    def at_rest(self, check: Callable[[object], Awaitable[object]]) -> Callable[[object], Awaitable[object]]:
        """The same, awaited once: faults are healed, and nothing is under way."""
        self.rest_checks.append(check)
        return check

    def family(self) -> Family | None:
        """What clients may ask, as a family named ``own``; None if that is nothing."""
        if not self.asks:
            return None
        draws = {str(number): _drawn(may) for number, may in enumerate(self.asks)}
        return Family(
            name="own",
            modules=(),
            topics=tuple(may.topic for may in self.asks),
            draws=draws,
            does=dict.fromkeys(draws, _ask),
            check=_holds,
        )


def _drawn(may: May) -> Callable[[random.Random, int], JsonObject]:
    return lambda rng, _: {"topic": may.topic, "payload": may.draw(rng)}


def _ask(world: World, step: Step) -> None:
    world.ask(step, step.args["topic"], step.args["payload"])


async def _holds(_: World) -> list[str]:
    return []


def merged_families(author: Author | None) -> dict[str, Family]:
    """All there are for an example, the author's among them."""
    own = None if author is None else author.family()
    return FAMILIES if own is None else {**FAMILIES, "own": own}


def names_of(families: Sequence[str]) -> tuple[str, ...]:
    """In the order they ship, each once."""
    order = [*FAMILIES, "own"]
    return tuple(sorted(dict.fromkeys(families), key=order.index))
