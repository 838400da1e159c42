"""Knows when the instance's resources end, and which jobs would outlast them; not who says so.

It is flux-core's built-in plugin ``.validate-duration``: R in the KVS tells the end, whoever puts it there.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from brokersim.brokermod import Handle, Message, duration, treeobj

WATCH, WAITCREATE = 4, 8
#: Seconds by which an end must change to be another.
_SAME: Final = 1e-5
_DEBUG: Final = 7


class _Execution(msgspec.Struct):
    expiration: float = 0.0


class _R(msgspec.Struct):
    execution: _Execution


class Lifetime:
    """Follows R in real time; under a virtual clock there is none in the KVS."""

    __slots__ = ("_end", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        #: When the resources end (s since the Unix epoch), 0.0 for never.
        self._end = 0.0

    def follow(self) -> None:
        if self._handle.attr_get("clock") != "virtual":
            wish = {"namespace": "primary", "key": "resource.R", "flags": WATCH | WAITCREATE}
            self._handle.stream("kvs-watch.lookup", wish, self._changed)

    def _changed(self, response: Message, _: object) -> None:
        if response.errnum:
            return  # nobody watches keys here, or no longer
        try:
            r = msgspec.json.decode(treeobj.val_bytes(response.payload["val"]), type=_R)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self._handle.log(_DEBUG, "duration-validator: resource.R in the KVS is none")
            return
        if not math.isclose(r.execution.expiration, self._end, rel_tol=0, abs_tol=_SAME):
            self._end = r.execution.expiration
            self._handle.log(_DEBUG, f"duration-validator: updated expiration to {self._end:.2f}")

    def refusal(self, seconds: float) -> str:
        """Why a job of that duration (s) cannot be, ``""`` if it can; one without end may always."""
        if not seconds or self._end <= 0:
            return ""
        left = self._end - self._handle.time()
        if seconds <= left:
            return ""
        if left < 0:
            return "duration exceeds instance lifetime"
        asked = duration.round_duration(seconds)
        return f"job duration ({asked}) exceeds remaining instance lifetime ({duration.round_duration(left)})"
