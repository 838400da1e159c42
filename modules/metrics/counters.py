"""Knows the stream ``counters``: how far the eight message counters of every module moved, looked at when it is due.

In brokersim one ``module.list`` tells all and is no message to any module. A Flux's list has no counters: there each
module is asked by ``stats-get``, those that answer with figures of their own are left out, and our question counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brokersim.brokermod import Handle, Message

STREAM = "counters"
#: The eight as brokersim names them; Flux tells them as {tx: {request: n, ...}, rx: ...}.
NAMES = tuple(
    f"{kind}_{way}" for kind in ("request", "response", "event", "keepalive") for way in ("tx", "rx")
)
_FLUX = {"keepalive": "control"}


class Counters:
    """Diffs of this rank's counters, observed on their stream."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._last: dict[tuple[str, str], list[int]] = {}
        self._is_known = False

    def look(self, then: Callable[[], object]) -> None:
        """Observe how far each moved since the last look (the first one only looks), then go on."""
        self._handle.request("module.list", {}, self._listed, then, nodeid=self._handle.rank)

    def _listed(self, response: Message, then: Callable[[], object]) -> None:
        mods = [] if response.errnum else response.payload.get("mods", [])
        told = {(mod["name"], mod.get("uuid", "")): counts_of(mod) for mod in mods}
        known = {key: counts for key, counts in told.items() if counts is not None}
        if len(known) == len(told):
            self._observe(known)
            then()
        else:
            self._ask_each([key for key in told if key not in known], known, then)

    def _ask_each(
        self, names: list[tuple[str, str]], told: dict[tuple[str, str], list[int]], then: Callable[[], object]
    ) -> None:
        waiting = set(names)

        def answered(response: Message, key: tuple[str, str]) -> None:
            counts = None if response.errnum else counts_of(response.data)
            if counts is not None:
                told[key] = counts
            waiting.discard(key)
            if not waiting:
                self._observe(told)
                then()

        for key in names:
            self._handle.request(f"{key[0]}.stats-get", {}, answered, key, nodeid=self._handle.rank)

    def _observe(self, told: Mapping[tuple[str, str], list[int]]) -> None:
        for key, counts in told.items():
            before = self._last.get(key) or [0] * len(NAMES)
            for name, now, then in zip(NAMES, counts, before, strict=True):
                # Counters that were cleared meanwhile begin at 0 again.
                moved = now - then if now >= then else now
                if moved and self._is_known:
                    self._handle.observe(STREAM, {"module": key[0], "type": name}, moved)
        self._last = dict(told)
        self._is_known = True


def counts_of(told: Any) -> list[int] | None:
    """The eight from ``{tx: {request: n, ...}, rx: ...}``, None if it does not tell them."""
    if not isinstance(told, dict) or not all(isinstance(told.get(way), dict) for way in ("tx", "rx")):
        return None
    parts = (name.rpartition("_") for name in NAMES)
    return [int(told[way].get(kind, told[way].get(_FLUX.get(kind, ""), 0))) for kind, _, way in parts]
