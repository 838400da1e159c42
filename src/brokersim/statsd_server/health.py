"""Knows what a statsd server says of itself, and the names it says it by; not how any of it is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from brokersim.statsd.flushed import Flush, Health
from brokersim.statsd.names import join_name
from brokersim.statsd.numbers import Number


@attrs.frozen(kw_only=True)
class SocketStatistics:
    """One datagram socket. ``kernel_drops`` is what the kernel threw away because nobody read in time; None: unknown.

    ``kernel_queue`` is the memory (bytes, the kernel's own included) of what waits to be read, ``buffer`` what was
    granted of ``asked``.
    """

    address: str
    packets: int
    kernel_drops: int | None
    kernel_queue: int | None
    buffer: int
    asked: int


@attrs.frozen(kw_only=True)
class TcpStatistics:
    """Clients of the line protocol: how many there are, were, and were sent away because there are too many."""

    clients: int = 0
    accepted: int = 0
    refused: int = 0
    stalled: int = 0


@attrs.frozen(kw_only=True)
class FlushStatistics:
    """Lateness and duration of flushes in seconds; ``skipped`` are the instants that passed while another was late."""

    count: int
    lag_s: float
    worst_lag_s: float
    duration_s: float
    skipped: int


@attrs.frozen(kw_only=True)
class Sent:
    """The last flush an output delivered: when (trio's time), how long that took (s), and its size."""

    at: float
    seconds: float
    bytes: int


@attrs.frozen(kw_only=True)
class OutputStatistics:
    """One output. ``queued``, ``limit``, ``sent``, ``dropped``, ``resent`` and ``in_doubt`` are in the unit it names.

    ``state`` is one of idle, connected, retrying, failed and closed. ``failed_at`` is in trio's time. ``unstored`` are
    series that carbon cannot have created yet if it keeps the limit it ships.
    """

    name: str
    target: str
    state: str
    unit: str
    queued: int
    limit: int
    sent: int
    dropped: int
    resent: int = 0
    in_doubt: int = 0
    retries: int = 0
    last_error: str | None = None
    failed_at: float | None = None
    last_sent: Sent | None = None
    unstored: int = 0


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """A statsd server's health. ``bad_by_reason`` has the lines of streams in it, ``health`` has not.

    ``ceiling`` is how many metrics a second this process could take, judged by the time its own traffic took;
    None before there was enough of it. ``kernel_drops`` are in packets.
    """

    uptime_s: float
    health: Health
    sockets: tuple[SocketStatistics, ...]
    tcp: TcpStatistics
    bad_lines: int
    bad_by_reason: Mapping[str, int]
    kernel_drops: int
    ceiling: float | None
    flush: FlushStatistics
    outputs: tuple[OutputStatistics, ...]
    taps: int
    taps_dropped: int
    http_errors: int
    metrics_per_s: float
    bad_lines_per_s: float


def own_values(statistics: ServerStatistics) -> dict[str, Number]:
    """The server's own metrics by the names they are flushed under, prefix excluded. Counts are since the start."""
    health = statistics.health
    values: dict[str, Number] = {
        "kernel_drops": statistics.kernel_drops,
        "kernel_queue": sum(each.kernel_queue or 0 for each in statistics.sockets),
        "cut_packets": health.cut_packets,
        "refused_keys": health.refused_keys,
        "expired_keys": health.expired_keys,
        "approx_timers": health.approx_timers,
        "flush.lag": statistics.flush.lag_s,
        "flush.duration": statistics.flush.duration_s,
        "flush.skipped": statistics.flush.skipped,
        "tcp.clients": statistics.tcp.clients,
        "tcp.refused": statistics.tcp.refused,
    }
    values |= {f"keys.{kind}": count for kind, count in health.keys.items()}
    for output in statistics.outputs:
        for field in ("queued", "sent", "dropped", "resent", "in_doubt", "retries"):
            values[f"outputs.{output.name}.{field}"] = getattr(output, field)
    return values


def with_own_values(flush: Flush, statistics: ServerStatistics, prefix: str) -> Flush:
    """``flush`` with the server's own metrics beside its dialect's, which keep their names."""
    own = {join_name(prefix, name): value for name, value in own_values(statistics).items()}
    return attrs.evolve(flush, self_values={**own, **flush.self_values})


def to_plain(value: object) -> object:
    """``value`` as JSON can hold it: attrs values become objects, bytes text, NaN and infinity null."""
    kind: Any = type(value)
    if attrs.has(kind):
        return to_plain({field.name: getattr(value, field.name) for field in attrs.fields(kind)})
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return None if isinstance(value, float) and not math.isfinite(value) else value
