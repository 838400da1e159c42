"""Knows how a configuration is laid together from a file, a command line and the registry, and which of them won.

From weak to strong, by mode:
registry-wins: defaults, file, command line, registry; file-wins: defaults, registry, file, command line;
file-only: defaults, file, command line, and what the registry has is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..plan import DEFAULTS, ON, merged
from ..sending.reporting import DEFAULTS as REPORTING

MODES: Final = ("registry-wins", "file-wins", "file-only")
_ORDER: Final[dict[str, tuple[str, ...]]] = {
    "registry-wins": ("defaults", "file", "command line", "registry"),
    "file-wins": ("defaults", "registry", "file", "command line"),
    "file-only": ("defaults", "file", "command line"),
}
ABSENT: Final = object()
#: The layer of what is built in, and what that says of the whole.
BUILT_IN: Final = "defaults"
CONFIG: Final[Mapping[str, Any]] = {"status": ON, "merge": MODES[0]}
MEASUREMENT: Final[Mapping[str, Any]] = {**DEFAULTS, "reporting": REPORTING}


def laid(mode: str, layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The configuration. Objects merge by key, null takes away what is weaker, all else is replaced whole."""
    whole: Any = {}
    for name in _ORDER[mode]:
        whole = merged(whole, layers.get(name) or {})
    found: dict[str, Any] = _without_nulls(whole)
    return found


def explained(mode: str, layers: Mapping[str, Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """For a key such as ``probes/load/schedule``: each layer's value, the strongest first, and which one stands.

    What a measurement does not say itself is what some ``probe_defaults`` say, else what is built in. Of objects all
    that have one take part.
    """
    path = key.strip("/").split("/")
    names = [name for name in reversed(_ORDER[mode]) if name != BUILT_IN]
    ways: list[tuple[str, list[str]]] = [("", path)]
    own: Mapping[str, Any] = CONFIG
    if path[0] == "probes" and len(path) > 2:  # a key of a measurement
        own, path = MEASUREMENT, path[2:]
        ways.append((" (probe_defaults)", ["probe_defaults", *path]))
    found = [(f"{name}{where}", at(layers.get(name) or {}, way)) for where, way in ways for name in names]
    # What is built in is replaced whole, but for reporting, which is laid under key by key.
    tops = (at(layers.get(name) or {}, way[: len(way) - len(path) + 1]) for _, way in ways for name in names)
    is_replaced = path[0] != "reporting" and any(top is not ABSENT for top in tops)
    found.append((BUILT_IN, ABSENT if is_replaced else at(own, path)))
    rows: list[dict[str, Any]] = []
    is_open = True
    for name, value in found:
        is_set = value is not ABSENT
        rows.append(
            {"layer": name, "is_set": is_set, "value": value if is_set else None, "wins": is_set and is_open}
        )
        if is_set and not isinstance(value, Mapping):
            is_open = False
    return rows


def at(value: Any, path: list[str]) -> Any:
    """What stands behind a way of keys, ``ABSENT`` where nothing does."""
    for key in filter(None, path):
        if value is None:
            return None  # what is above it was taken away, and it with that
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value
