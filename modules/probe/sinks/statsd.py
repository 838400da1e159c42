"""Knows how samples become gauges and counters of statsd, by the module's stats client: at most once, no times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from brokersim.brokermod import Handle

from ..contract import COUNTER
from ..sending.gaps import Gap
from ..sending.series import Sample
from .base import Sink


class Statsd(Sink):
    """``flux.probe.<rank>.<measurement>[.<subject tail>].<metric>``: gauges, a counter's growth as a counter.

    A time that came with a reading cannot be said; with ``now`` such samples are sent all the same.
    """

    options: ClassVar[dict[str, Any]] = {"now": False}
    has_text = False

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        self._client = handle.stats
        self.has_times = bool(config["now"])
        self.is_off = not self._client.enabled

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        client = self._client
        for series, _, _, value, _ in samples:
            assert not isinstance(value, str)
            if series.form == "delta" and series.kind == COUNTER:
                client.inc(series.name, value)
            else:
                client.gauge_set(series.name, value)
