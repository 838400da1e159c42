"""Knows how samples go to the registry, which has the latest of each series for whoever asks it over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brokersim.brokermod import Handle, RequestError, errnums

from ..sending.gaps import Gap
from ..sending.outqueue import size_of
from ..sending.series import Sample, Series
from .base import Down, Refused, Sink

_ABOUT = ("subject", "metric", "attributes", "measurement", "unit", "kind", "form")


class Registry(Sink):
    """One request a batch, each sample by its number: sent twice, it is there once."""

    target = "registry.store"

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        #: Numbers begin at 1 with each life of the module; of instances of one seed the uuids are the same.
        self._life = f"{handle.uuid}@{handle.attr_get('broker.starttime') or ''}"
        #: Series it has been told of.
        self._known: set[str] = set()

    async def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        by_mid: dict[str, tuple[Series, list[Any]]] = {}
        for one in samples:
            by_mid.setdefault(one.series.mid, (one.series, []))[1].append(
                [one.ts_ns / 1e9, one.value, one.seq]
            )
        given = [self._said(series, found) for series, found in by_mid.values()]
        self.size = sum(map(size_of, samples))
        try:
            await self.handle.call(self.target, {"series": given})
        except RequestError as error:
            raise self._trouble(error) from None
        self._known.update(by_mid)

    def _said(self, series: Series, samples: list[Any]) -> dict[str, Any]:
        if series.mid in self._known:
            return {"mid": series.mid, "samples": samples, "life": self._life}
        stored = series.to_stored()
        return {key: stored[key] for key in _ABOUT} | {"samples": samples, "life": self._life}

    def _trouble(self, error: RequestError) -> Exception:
        if error.errno == errnums.EINVAL:
            return Refused(error.text)
        # It may be another one now, which knows nothing yet.
        self._known.clear()
        is_new = error.errno == errnums.ENOENT
        return Down(f"registry: {error.text}", retry_after=0.0 if is_new else None)

    def describe(self, series: Series) -> None:
        """Its form may be another one."""
        self._known.discard(series.mid)
