"""Knows how eventlog events update jobspec and R (RFC 21: jobspec-update, resource-update); not who reads them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from brokersim.protocol.decoded import Json
from brokersim.protocol.eventlog import Event

_UPDATES: Final = {"jobspec": "jobspec-update", "R": "resource-update"}


def update_event(key: str) -> str | None:
    """The name of the event that updates a record, None if nothing does."""
    return _UPDATES.get(key)


def apply_updates(key: str, value: object, events: Iterable[Event]) -> Json:
    """A record with all its updates, in order; the record given is left as it is.

    jobspec-update maps dotted paths to values; resource-update's ``expiration`` is R's. Raises ValueError for a
    path that leads through something else than objects.
    """
    wanted = _UPDATES[key]
    updated = value
    for event in events:
        if event["name"] == wanted:
            updated = deepcopy(value) if updated is value else updated
            for path, new in event.get("context", {}).items():
                _set(updated, f"execution.{path}" if key == "R" else path, new)
    return updated


def _set(table: object, path: str, value: object) -> None:
    *way, last = path.split(".")
    for part in way:
        table = table.setdefault(part, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise ValueError(f"update of {path!r:.60} leads through a value that is no object")
    table[last] = value
