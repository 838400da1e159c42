"""Knows the requests about samples: they are taken, shown, and now and then kept in the KVS."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler

from . import store
from .data import Data, Said

#: Seconds between two times that what is new is kept: rings are written whole, and the KVS forgets nothing.
KEEP_EVERY: Final = 60.0


class Stored(msgspec.Struct):
    """Payload of store: samples of any number of series."""

    series: list[Said]


class Asked(msgspec.Struct, rename={"since": "from", "until": "to"}):
    """Payload of data: a series, and which of its samples."""

    mid: str
    since: float | None = None
    until: float | None = None
    limit: int | None = None


class Samples(BrokerModule):
    """The part of the registry that has samples."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._data = Data()
        self._is_waiting = False

    @request_handler("store")
    def store_samples(self, msg: Message) -> None:
        """Samples of many series in one request, all or none; each number once."""
        stored = self._data.store(msg.unpack(Stored).series)
        if not self._is_waiting:
            self._is_waiting = True
            self.handle.call_later(KEEP_EVERY, self._keep)
        self.handle.respond(msg, {"series": stored})

    @request_handler("data")
    def data(self, msg: Message) -> None:
        """A series with samples between two times."""
        wish = msg.unpack(Asked)
        self.handle.respond(msg, self._data.of(wish.mid, wish.since, wish.until, wish.limit))

    @request_handler("latest")
    def latest(self, msg: Message) -> None:
        """Every series with its newest sample."""
        self.handle.respond(msg, {"series": self._data.latest()})

    def _keep(self) -> None:
        self._is_waiting = False
        self.handle.spawn(self._kept())

    async def _kept(self) -> None:
        """What is new goes to the KVS; what it does not take now is tried with the next."""
        changed, self._data.changed = self._data.changed, set()
        try:
            if changed:
                values = {mid: self._data.kept(mid) for mid in sorted(changed)}
                await store.save_values(self.handle, store.DATA, values)
        except RequestError as error:
            self._data.changed |= changed
            self.log.warning(f"samples of {len(changed)} series are not kept: {error}")

    async def _load_samples(self) -> None:
        async for mid, value in store.values(self.handle, store.DATA):
            try:
                self._data.load(mid, value)
            except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
                text = f"kvs key {self.name}.{store.DATA}.{mid} has no samples: {error}"
                raise RequestError(errnums.EIO, text) from None

    def _sample_stats(self) -> dict[str, Any]:
        return {
            "series": len(self._data.rings),
            "samples": sum(len(r.samples) for r in self._data.rings.values()),
        }
