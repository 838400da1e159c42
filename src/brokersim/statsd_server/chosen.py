"""Knows which keys of a flush a page asks for: the first that match, and some by name; not what is told of them.

Of 100,000 keys only the names are looked at, and those in pieces, with turns for others between them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from heapq import nsmallest
from itertools import islice, repeat
from operator import itemgetter
from typing import TypeVar

import attrs

from brokersim.statsd.shown import Shown

V = TypeVar("V")
#: A name, and the key behind it where a table has one.
Place = tuple[str, bytes | None]

#: Names that are looked at in one piece: half a millisecond.
LOOK_KEYS = 1000
_MOST = 10_000


class BadQueryError(ValueError):
    """A query that cannot be answered; says what would be right."""


@attrs.frozen(kw_only=True)
class Choice:
    """At most ``limit`` keys of each kind, in order, whose names have ``match`` in them in any case; and ``picked``."""

    limit: int
    match: str = ""
    picked: frozenset[str] = frozenset()

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> Choice | None:
        """`limit=N&match=TEXT&pick=NAMES`, names with LF between; None without any of them. Raises BadQueryError."""
        if not {"limit", "match", "pick"} & query.keys():
            return None
        text = query.get("limit", str(_MOST))
        if not (text.isascii() and text.isdigit() and len(text) < 9):
            raise BadQueryError(
                f"limit={text!r} is no number of keys; give limit=200, or leave it away for all"
            )
        picked = frozenset(filter(None, query.get("pick", "").split("\n")))
        return cls(limit=int(text), match=query.get("match", "").lower(), picked=picked)

    def places(self, table: Mapping[str, object]) -> Generator[None, None, tuple[list[Place], int]]:
        """Those chosen of a table, and how many match. Yields between pieces, when others may have their turn."""
        places: Iterator[Place] = table.located() if isinstance(table, Shown) else zip(table, repeat(None))
        first: list[Place] = []
        found: set[Place] = set()
        count = 0
        while some := list(islice(places, LOOK_KEYS)):
            if self.picked:
                found.update(place for place in some if place[0] in self.picked)
            if self.match:
                some = [place for place in some if self.match in place[0].lower()]
            count += len(some)
            first = nsmallest(self.limit, first + some, key=itemgetter(0))
            yield
        return sorted(found.union(first), key=itemgetter(0)), count


def value_at(table: Mapping[str, V], place: Place) -> V | None:
    """What a table says at a place in it, or in one whose keys are the same."""
    name, key = place
    return table.at(key) if isinstance(table, Shown) and key is not None else table.get(name)
