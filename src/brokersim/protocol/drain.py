"""Knows which nodes are drained, since when and why (flux-core's rules and texts); not who schedules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import attrs

from brokersim.protocol.errnums import EEXIST, EINVAL, RequestError
from brokersim.protocol.ranks import format_ranks, parse_ranks

#: How a drain of nodes that are drained already is meant.
_MODES: Final = ("", "update", "overwrite", "force-overwrite")
_HOSTS: Final = re.compile(r"sim(\d{1,7}|\[[0-9,-]+\])(,|$)")


@attrs.frozen
class Drained:
    """One node's drain: seconds since the epoch, and the reason, None if none was given."""

    since: float
    reason: str | None


class DrainSet:
    """The drained ones of ``nodes`` nodes. A drained node gets no more jobs; those it runs go on."""

    __slots__ = ("_drained", "_nodes")

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._drained: dict[int, Drained] = {}

    def nodes(self) -> list[int]:
        """The drained nodes, ascending."""
        return sorted(self._drained)

    def targets(self, text: str) -> list[int]:
        """The nodes meant by ranks (``0-3``) or names (``sim[0-3]``). Raises RequestError(EINVAL)."""
        try:
            found = parse_ranks(_ranks_of(text), self._nodes)
        except ValueError as error:
            raise RequestError(EINVAL, str(error)) from None
        if not found:
            raise RequestError(EINVAL, "idset is empty")
        return found

    def drain(self, targets: Iterable[int], now: float, reason: str | None, mode: str = "") -> list[int]:
        """Drain nodes; those that were not drained before.

        Without ``mode`` none may be drained with a reason (RequestError EEXIST); ``update`` leaves such ones
        alone, ``overwrite`` gives them the new reason, ``force-overwrite`` the new time as well.
        """
        if mode not in _MODES:
            raise RequestError(EINVAL, "Invalid mode specified")
        wanted = list(targets)
        kept = [node for node in wanted if (old := self._drained.get(node)) and old.reason is not None]
        if kept and not mode:
            raise RequestError(EEXIST, f"rank{_plural(kept)} {format_ranks(kept)} already drained")
        fresh = [node for node in wanted if node not in self._drained]
        for node in wanted:
            old = self._drained.get(node)
            if node in kept and mode == "update":
                continue
            since = now if old is None or mode == "force-overwrite" else old.since
            self._drained[node] = Drained(since, reason)
        return fresh

    def undrain(self, targets: Iterable[int], mode: str = "") -> list[int]:
        """Undrain nodes; those that were drained. All must be, unless ``mode`` is ``force``. Raises RequestError."""
        if mode not in ("", "force"):
            raise RequestError(EINVAL, f"invalid undrain mode '{mode}' specified")
        wanted = list(targets)
        others = [node for node in wanted if node not in self._drained]
        if others and not mode:
            ids = format_ranks(others)
            raise RequestError(EINVAL, f"{nodelist(others)} (rank{_plural(others)} {ids}) not drained")
        return [node for node in wanted if self._drained.pop(node, None) is not None]

    def to_dict(self) -> dict[str, Any]:
        """``{"0-3": {"timestamp", "reason"}}``: nodes drained together for one reason are one entry."""
        groups: dict[Drained, list[int]] = {}
        for node in self.nodes():
            groups.setdefault(self._drained[node], []).append(node)
        return {
            format_ranks(nodes): {"timestamp": one.since, "reason": one.reason or ""}
            for one, nodes in groups.items()
        }


def nodelist(nodes: Iterable[int]) -> str:
    """The names of simulated nodes: ``sim0``, ``sim[0,2-3]``."""
    ids = format_ranks(nodes)
    return f"sim[{ids}]" if "," in ids or "-" in ids else f"sim{ids}"


def _ranks_of(text: str) -> str:
    """``sim[0-2],sim5`` as ranks; ranks as they are."""
    if not text.strip():
        raise ValueError("idset is empty")
    if not text.startswith("sim"):
        return text
    if not re.fullmatch(f"({_HOSTS.pattern})+", text):
        raise ValueError(f"not a list of hosts: {text!r:.60}; give sim0, sim[0-3] or ranks")
    return ",".join(found.group(1).strip("[]") for found in _HOSTS.finditer(text))


def _plural(nodes: list[int]) -> str:
    return "s" if len(nodes) > 1 else ""
