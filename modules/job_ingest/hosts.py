"""Knows which hosts a jobspec's constraints name and which of them are not there; not who is there (resource)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from brokersim.brokermod import hostlist


def lists_named(jobspec: dict[str, Any]) -> list[str]:
    """What all ``hostlist`` constraints (RFC 31) hold, also of those that exclude hosts, in order.

    What is no constraint names none: whoever matches them (the scheduler) tells what is wrong with it.
    """
    found: Any = jobspec
    for key in ("attributes", "system", "constraints"):
        found = found.get(key) if isinstance(found, dict) else None
    return list(_walk(found))


def _walk(constraint: Any) -> Iterator[str]:
    for operator, values in constraint.items() if isinstance(constraint, dict) else ():
        if not isinstance(values, list):
            continue
        if operator in ("and", "or", "not"):
            for inner in values:
                yield from _walk(inner)
        elif operator == "hostlist":
            yield from (text for text in values if isinstance(text, str))


def missing(lists: Iterable[str], r: Any) -> str:
    """The first host of these lists that an R has not, ``""`` if it has all up to a list that is none, or is no R."""
    try:
        there = {name for text in r["execution"].get("nodelist", ()) for name in hostlist.expand(text)}
        named = (name for text in lists for name in hostlist.expand(text))
        return next((name for name in named if name not in there), "")
    except (KeyError, TypeError, ValueError):
        return ""
