"""Knows what is measured of flushes and of the time that packets took; not how either is done."""

from __future__ import annotations

import attrs

from brokersim.statsd.flushed import Health
from brokersim.statsd_server.health import ServerStatistics

#: Packets of a turn on which the ceiling may be judged, and how many of them it takes.
_FULL_TURN, _ENOUGH_PACKETS = 64, 1000


@attrs.define(eq=False)
class FlushGauge:
    """What is measured of flushes and of the time that packets took."""

    started: float | None = None
    lag: float = 0.0
    worst_lag: float = 0.0
    duration: float = 0.0
    metrics_per_s: float = 0.0
    bad_lines_per_s: float = 0.0
    _last_t: float | None = None
    _last_metrics: int = 0
    _last_bad_lines: int = 0
    _judged_packets: int = 0
    _judged_ns: int = 0

    def note_flush(self, statistics: ServerStatistics, t: float, lag: float) -> None:
        """``t`` is trio's time, ``lag`` how late the flush was (s)."""
        metrics, bad_lines = statistics.health.metrics, statistics.bad_lines
        self.lag = lag
        self.worst_lag = max(self.worst_lag, lag)
        since = t - (self._last_t if self._last_t is not None else self.started or 0.0)
        if since > 0:
            self.metrics_per_s = (metrics - self._last_metrics) / since
            self.bad_lines_per_s = (bad_lines - self._last_bad_lines) / since
        self._last_t, self._last_metrics, self._last_bad_lines = t, metrics, bad_lines

    def note_turn(self, packets: int, spent_ns: int) -> None:
        """What a turn took. Short ones are mostly waking up, and say nothing of what a busy server could take."""
        if packets >= _FULL_TURN:
            self._judged_packets += packets
            self._judged_ns += spent_ns

    def ceiling(self, health: Health) -> float | None:
        """Metrics a second at which receiving alone would take all of a core."""
        if self._judged_packets < _ENOUGH_PACKETS or not self._judged_ns or not health.packets:
            return None
        packets_per_s = self._judged_packets / (self._judged_ns / 1e9)
        return packets_per_s * health.metrics / health.packets
