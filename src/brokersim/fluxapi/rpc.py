"""Knows Flux's RPC object."""

from __future__ import annotations

import json

from brokersim.fluxapi.constants import FLUX_NODEID_ANY, FLUX_RPC_NORESPONSE, FLUX_RPC_STREAMING
from brokersim.fluxapi.endpoint import FluxHandle
from brokersim.fluxapi.future import Future
from brokersim.fluxapi.payload import to_data, to_text
from brokersim.host.future import Future as Inner
from brokersim.protocol.decoded import Json
from brokersim.protocol.message import FLAG_NORESPONSE, FLAG_STREAMING


class RPC(Future):
    """A request that was sent, and its answers."""

    def __init__(
        self,
        flux_handle: FluxHandle,
        topic: str,
        payload: object = None,
        nodeid: int = FLUX_NODEID_ANY,
        flags: int = 0,
    ) -> None:
        wire_flags = FLAG_STREAMING if flags & FLUX_RPC_STREAMING else 0
        if flags & FLUX_RPC_NORESPONSE:
            wire_flags = FLAG_NORESPONSE
        super().__init__(Inner(flux_handle.endpoint, topic, to_data(payload), nodeid, wire_flags))
        self.flux_handle = flux_handle

    def get_str(self) -> str | None:
        """The answer's payload as text, None if it has none; waits for it. Raises OSError."""
        super().get()
        assert self.inner.latest is not None
        return to_text(self.inner.latest.data)

    def get(self) -> Json:
        """The answer's payload decoded from JSON; waits for it. Raises OSError."""
        text = self.get_str()
        return None if text is None else json.loads(text)
