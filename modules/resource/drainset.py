"""Knows which nodes are drained, since when and why (flux-core's rules and texts); not who schedules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from brokersim.brokermod import RequestError, errnums, hostlist, ranks

#: How a drain of nodes that are drained already is meant.
_MODES: Final = ("", "update", "overwrite", "force-overwrite")
#: Ranks beyond this are a mistake.
ANY: Final = 10_000_000
_IDS: Final = re.compile(r"[\[\]0-9,\- ]*")


@attrs.frozen
class Drained:
    """One node's drain: seconds since the epoch, and the reason, None if none was given."""

    since: float
    reason: str | None


class DrainSet:
    """The drained ones of some nodes, by rank. A drained node gets no more jobs; those it runs go on."""

    __slots__ = ("_drained", "_hosts")

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self._drained: dict[int, Drained] = {}

    def nodes(self) -> list[int]:
        """The drained nodes, ascending."""
        return sorted(self._drained)

    def targets(self, text: str) -> list[int]:
        """The nodes meant by ranks (``0-3``) or host names. Raises RequestError(EINVAL)."""
        if not text.strip():
            raise RequestError(errnums.EINVAL, "idset is empty")
        try:
            if _IDS.fullmatch(text) or text == ranks.ALL:
                return self._in_range(ranks.parse_ranks(text, ANY if text != ranks.ALL else len(self._hosts)))
            return self._named(text)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    def _in_range(self, found: list[int]) -> list[int]:
        if found and max(found) >= len(self._hosts):
            last = len(self._hosts) - 1
            there = f"are ranks 0-{last}" if last else "is rank 0 only"
            raise ValueError(f"idset is out of range: there {there}")
        return found

    def known(self, text: str) -> list[int]:
        """The nodes of a host list; hosts that are not there now are passed over. Raises ValueError."""
        names = set(hostlist.expand(text))
        return [rank for rank, host in enumerate(self._hosts) if host in names]

    def _named(self, text: str) -> list[int]:
        wanted = hostlist.expand(text)
        missing = sorted(set(wanted).difference(self._hosts))
        if missing:
            raise ValueError(f"unknown host {hostlist.compress(missing)}")
        names = set(wanted)
        return [rank for rank, host in enumerate(self._hosts) if host in names]

    def nodelist(self, nodes: Iterable[int]) -> str:
        """The names of nodes: ``sim0``, ``sim[0,2-3]``."""
        return hostlist.compress([self._hosts[node] for node in nodes])

    def drain(
        self,
        targets: Iterable[int],
        now: float,
        reason: str | None,
        mode: str = "",
        excluded: Iterable[int] = (),
    ) -> list[int]:
        """Drain nodes; those that were not drained before. None may be ``excluded`` (RequestError EINVAL).

        Without ``mode`` none may be drained with a reason (RequestError EEXIST); ``update`` leaves such ones
        alone, ``overwrite`` gives them the new reason, ``force-overwrite`` the new time as well.
        """
        if mode not in _MODES:
            raise RequestError(errnums.EINVAL, "Invalid mode specified")
        wanted = list(targets)
        kept = [node for node in wanted if (old := self._drained.get(node)) and old.reason is not None]
        out = sorted(set(wanted).intersection(excluded))
        if out or (kept and not mode):
            said = " or ".join(
                word for word, some in (("drained", kept and not mode), ("excluded", out)) if some
            )
            both = sorted({*out, *(() if mode else kept)})
            text = f"rank{_plural(both)} {ranks.format_ranks(both)} already {said}"
            raise RequestError(errnums.EINVAL if out else errnums.EEXIST, text)
        fresh = [node for node in wanted if node not in self._drained]
        for node in wanted:
            old = self._drained.get(node)
            if node in kept and mode == "update":
                continue
            since = now if old is None or mode == "force-overwrite" else old.since
            self._drained[node] = Drained(since, reason)
        return fresh

    def undrain(self, targets: Iterable[int], mode: str = "") -> list[int]:
        """Undrain nodes; those that were drained. Without ``mode`` all must be. Raises RequestError."""
        if mode not in _MODES:
            raise RequestError(errnums.EINVAL, f"invalid undrain mode '{mode:.40}' specified")
        wanted = list(targets)
        others = [node for node in wanted if node not in self._drained]
        if others and not mode:
            raise RequestError(
                errnums.EEXIST, f"rank{_plural(others)} {ranks.format_ranks(others)} not drained"
            )
        return [node for node in wanted if self._drained.pop(node, None) is not None]

    def to_dict(self) -> dict[str, Any]:
        """``{"0-3": {"timestamp", "reason"}}``: nodes drained together for one reason are one entry."""
        groups: dict[Drained, list[int]] = {}
        for node in self.nodes():
            groups.setdefault(self._drained[node], []).append(node)
        return {
            ranks.format_ranks(nodes): {"timestamp": one.since, "reason": one.reason or ""}
            for one, nodes in groups.items()
        }


def _plural(nodes: list[int]) -> str:
    return "s" if len(nodes) > 1 else ""
