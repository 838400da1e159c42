"""Knows which hosts a jobspec's constraints name and which of them are not there; not who is there (resource)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from brokersim.brokermod import hostlist


def hosts_named(jobspec: dict[str, Any]) -> list[str]:
    """The hosts of all ``hostlist`` constraints (RFC 31), also of those that exclude them, in order."""
    constraints = ((jobspec.get("attributes") or {}).get("system") or {}).get("constraints")
    return list(_walk(constraints)) if constraints else []


def _walk(constraint: Any) -> Iterator[str]:
    for operator, values in constraint.items() if isinstance(constraint, dict) else ():
        if operator in ("and", "or", "not"):
            for inner in values:
                yield from _walk(inner)
        elif operator == "hostlist":
            for text in values:
                yield from _expanded(text)


def _expanded(text: Any) -> list[str]:
    try:
        return hostlist.expand(text)
    except (ValueError, TypeError):
        return []  # the scheduler tells what is wrong with it


def missing(hosts: Iterable[str], r: Any) -> str:
    """The first host that an R has not, ``""`` if it has all or is none."""
    try:
        there = {name for text in r["execution"].get("nodelist", ()) for name in hostlist.expand(text)}
    except (KeyError, TypeError, ValueError):
        return ""
    return next((host for host in hosts if host not in there), "")
