"""Knows what a statsd server tells its operator: where it listens, its flushes as JSON, its losses; not when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import trio

from brokersim.cli.session import Session
from brokersim.cli.stats.recording import to_document
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted, one_of
from brokersim.statsd.flushed import Flush
from brokersim.statsd.recorded.replay import ReplayFlush
from brokersim.statsd_server.health import ServerStatistics, to_plain
from brokersim.statsd_server.outputs.base import QueuedOutput
from brokersim.statsd_server.server import StatsdServer
from brokersim.version import VERSION


class FlushLines(QueuedOutput):
    """An output: each flush as `stats replay --json` shows it, one a line. A reader that hangs holds nobody up."""

    name = "json"

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__("stdout")
        self._write = write

    async def write_all(self, flushes: list[Flush]) -> None:
        lines = b"".join(to_document(_to_json(flush)) for flush in flushes)
        await trio.to_thread.run_sync(self._write, lines, abandon_on_cancel=True)


def _to_json(flush: Flush) -> dict[str, object]:
    shown = ReplayFlush(t=flush.t, values=flush.values, bad_lines=flush.bad_lines).to_json()
    return {"event": "flush", **shown, "packets": flush.packets, "metrics": flush.metrics}


def tell_start(session: Session, server: StatsdServer) -> None:
    """Where it listens."""
    told = {
        "event": "listening",
        "addresses": list(server.addresses),
        "http": server.http_address,
        "management": server.management_address,
    }
    if session.json:
        session.write(to_document(told))
    pages = f"; http://{server.http_address}/" if server.http_address else ""
    managed = f"; management {server.management_address}" if server.management_address else ""
    settings = server.settings
    session.say(
        f"brokersim {VERSION} · {settings.dialect} · flush {settings.flush_s:g} s · "
        f"{', '.join(server.addresses)}{pages}{managed}"
    )


def tell_end(session: Session, end: ServerStatistics) -> None:
    """What it took, what it lost and why, and what it could have taken."""
    if session.json:
        session.write(to_document({"event": "end", **_plain(end)}))
    health = end.health
    ceiling = "" if end.ceiling is None else f"; this process could take {end.ceiling:,.0f} metrics/s"
    session.say(
        f"{counted(health.packets, 'packet')}, {counted(health.metrics, 'metric')}, "
        f"{counted(health.flushes, 'flush')} in {end.uptime_s:.1f} s"
        f"{ceiling}"
    )
    for count, noun, what in _losses(end):
        if count:
            session.say(f"warning: {counted(count, noun)}{what}")


def _plain(end: ServerStatistics) -> JsonObject:
    plain: Any = to_plain(end)
    return dict(plain)


def _losses(end: ServerStatistics) -> Iterator[tuple[int, str, str]]:
    """How much was lost, of what, as it is named of one, and why."""
    yield end.kernel_drops, "packet", " dropped by the kernel: the receive buffer was full"
    for reason, count in sorted(end.bad_by_reason.items()):
        yield count, "bad line", f": {reason.replace('_', ' ')}"
    yield end.health.cut_packets, "packet", " cut: longer than the dialect takes"
    yield end.health.refused_keys, "new key", " refused: the limit on keys was reached"
    yield end.health.dropped_creates, "value", " kept out by the limit on new series"
    yield end.flush.skipped, "flush", " skipped: the one before took too long"
    for output in end.outputs:
        error = f" ({output.last_error})" if output.last_error else ""
        yield output.dropped, one_of(output.unit), f" not delivered to {output.target}{error}"
