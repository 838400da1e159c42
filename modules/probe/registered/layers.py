"""Knows how a configuration is laid together from a file, a command line and the registry, and which of them won.

From weak to strong, by mode:
registry-wins: defaults, file, command line, registry; file-wins: defaults, registry, file, command line;
file-only: defaults, file, command line, and what the registry has is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..plan import merged

MODES: Final = ("registry-wins", "file-wins", "file-only")
_ORDER: Final[dict[str, tuple[str, ...]]] = {
    "registry-wins": ("defaults", "file", "command line", "registry"),
    "file-wins": ("defaults", "registry", "file", "command line"),
    "file-only": ("defaults", "file", "command line"),
}
_ABSENT: Final = object()


def laid(mode: str, layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The configuration. Objects merge by key, null takes away what is weaker, all else is replaced whole."""
    whole: Any = {}
    for name in _ORDER[mode]:
        whole = merged(whole, layers.get(name) or {})
    found: dict[str, Any] = _without_nulls(whole)
    return found


def explained(mode: str, layers: Mapping[str, Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """For a key such as ``probes/load/schedule``: each layer's value, the strongest first, and which one stands.

    Of objects all that have one take part.
    """
    rows: list[dict[str, Any]] = []
    is_open = True
    for name in reversed(_ORDER[mode]):
        value = _at(layers.get(name) or {}, key.strip("/").split("/"))
        is_set = value is not _ABSENT
        rows.append(
            {"layer": name, "is_set": is_set, "value": value if is_set else None, "wins": is_set and is_open}
        )
        if is_set and not isinstance(value, Mapping):
            is_open = False
    return rows


def _at(value: Any, path: list[str]) -> Any:
    for key in filter(None, path):
        if value is None:
            return None  # what is above it was taken away, and it with that
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value
