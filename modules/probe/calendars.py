"""Knows who has reserved which resource for when, on rank 0, and how a measurement asks for slots; not what it reads.

One writer, and answers in the order of arrival: nobody waits by chance, checks again, or is starved. A slot ends with
its time, so what a holder that died has reserved is free soon; one that is stopped gives back what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, schedules, treeobj


class Claim(msgspec.Struct):
    """Payload of probe.reserve: so many slots of so long, so far apart, of resources and how much of each is used."""

    holder: str
    every: float
    duration: float
    count: int
    resources: list[tuple[str, float]]
    #: None before (s since the epoch).
    after: float = 0.0


class Holder(msgspec.Struct):
    """Payload of probe.release."""

    holder: str


class Calendars:
    """By resource: start, end (s since the epoch), usage (1 is alone), holder. Kept in the KVS, where there is one."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._claims: dict[str, list[tuple[float, float, float, str]]] = {}
        self._is_loaded = False

    async def ready(self) -> None:
        """What an earlier life has left is known."""
        if self._is_loaded:
            return
        found = await self._load()
        if not self._is_loaded:  # another request may have come here meanwhile
            self._claims, self._is_loaded = found, True

    def reserve(self, claim: Claim, now: float) -> list[tuple[float, float]]:
        """Slots that fit all resources. Raises RequestError(EINVAL)."""
        try:
            wanted = schedules.Avoid(
                every=claim.every, duration=claim.duration, count=claim.count, resources=claim.resources
            )
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"{self._handle.name}.reserve: {error}") from None
        self._forget(now)
        busy = [
            slot
            for ref, usage in wanted.resources
            for slot in schedules.overfull([claim[:3] for claim in self._claims.get(ref, ())], usage)
        ]
        found = schedules.slots(max(now, claim.after), wanted.every, wanted.duration, wanted.count, busy)
        for ref, usage in wanted.resources:
            self._claims.setdefault(ref, []).extend((*slot, usage, claim.holder) for slot in found)
        self._save()
        return found

    def release(self, holder: str) -> None:
        """All that it has reserved is free."""
        self._keep(lambda claim: claim[3] != holder)
        self._save()

    def _forget(self, now: float) -> None:
        self._keep(lambda claim: claim[1] > now)

    def _keep(self, test: Callable[[tuple[float, float, float, str]], bool]) -> None:
        kept = {ref: [claim for claim in claims if test(claim)] for ref, claims in self._claims.items()}
        self._claims = {ref: claims for ref, claims in kept.items() if claims}

    def _key(self) -> str:
        return f"{self._handle.name}.calendars"

    async def _load(self) -> dict[str, list[tuple[float, float, float, str]]]:
        try:
            wish = {"key": self._key(), "namespace": "primary", "flags": 0}
            raw = treeobj.val_bytes((await self._handle.call("kvs.lookup", wish))["val"])
            return msgspec.json.decode(raw, type=dict[str, list[tuple[float, float, float, str]]])
        except (RequestError, ValueError, KeyError, TypeError):
            return {}

    def _save(self) -> None:
        """Nobody waits for it."""
        put = {"key": self._key(), "flags": 0, "dirent": treeobj.val(msgspec.json.encode(self._claims))}
        self._handle.request("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})


class Reservation:
    """What one measurement has reserved, and how it asks for more."""

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self._holder = f"{handle.rank}/{name}"
        self._asked: Message | None = None
        self._after = 0.0

    def ask(self, schedule: Any, then: Callable[[Any], object]) -> None:
        """Its next slots, or the RequestError instead, to ``then``; one question at a time."""
        if self._asked is not None:
            return
        claim = {"every": schedule.every, "duration": schedule.duration, "count": schedule.count}
        payload = {**claim, "holder": self._holder, "resources": schedule.resources, "after": self._after}
        topic = f"{self._handle.name}.reserve"

        def told(response: Message, _arg: None) -> None:
            self._asked = None
            if response.errnum:
                then(RequestError(response.errnum, response.payload_str or errnums.strerror(response.errnum)))
                return
            found = [(float(start), float(end)) for start, end in response.data["slots"]]
            self._after = found[-1][0] + schedule.every
            then(found)

        self._asked = self._handle.request(topic, payload, told, None, 0)

    def release(self) -> None:
        """It needs them no more."""
        if self._asked is not None:
            self._handle.forget(self._asked)
            self._asked = None
        self._after = 0.0
        self._handle.request(f"{self._handle.name}.release", {"holder": self._holder}, _unheard, None, 0)


def _unheard(_response: Message, _arg: None) -> None:
    """Free now, or rank 0 has no module and there was nothing to free."""
