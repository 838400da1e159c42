"""Knows where an instance's statistics go and what has to run around it for that; not what is sent there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from brokersim.program import make_sink
from brokersim.protocol.settings import ClockKind
from brokersim.routing.sink import NullSink, Sink

# The server, its outputs and pages are a quarter of what `start` would import, and most instances have none: they
# are imported where something is to be sent.

if TYPE_CHECKING:
    from brokersim.statsd_server.server import StatsdServer

_UDP = "udp://"


class TargetError(ValueError):
    """Statistics cannot go where they should, for a reason a person can mend."""


@asynccontextmanager
async def statistics_target(
    stats: str | None,
    *,
    aggregator: str | None = None,
    clock: str = "real",
    log: Callable[[str], None] | None = None,
) -> AsyncIterator[Sink]:
    """The sink of an instance that runs in the block: what it needs is started before and ended after it.

    ``stats`` is as for ``start --stats``: None, or what `parse_stats` reads. ``aggregator`` is
    the command of a statsd server, told ``stats`` or else a free port. ``log`` gets what an operator should see.
    Raises TargetError that says what is wrong.
    """
    if not stats and aggregator is None:
        yield NullSink()
        return
    from brokersim.statsd_server.aggregator_process import AggregatorError

    async with AsyncExitStack() as around:
        try:
            sink = await _opened(around, stats, aggregator, ClockKind.parse(clock), log)
        except (AggregatorError, ValueError) as error:
            raise TargetError(str(error)) from None
        yield sink


async def _opened(
    around: AsyncExitStack,
    stats: str | None,
    aggregator: str | None,
    clock: ClockKind,
    log: Callable[[str], None] | None,
) -> Sink:
    from brokersim.statsd_server.aggregator_process import SupervisedAggregator
    from brokersim.statsd_server.option import MEMORY, StatsOption, parse_stats
    from brokersim.statsd_server.udp import UdpSink

    option = StatsOption() if stats is None else parse_stats(stats, sockets=not clock.is_virtual)
    if aggregator is not None:
        if option.server is not None or option.address == MEMORY:
            told = f"--stats {stats} and --with-aggregator name two targets"
            raise ValueError(f"{told}; give HOST:PORT or leave --stats away")
        supervised = SupervisedAggregator(aggregator, address=option.address or None, log=log)
        await around.enter_async_context(supervised.running())
        return UdpSink(supervised.address, option.dialect)
    if option.server is None:
        return make_sink(stats)
    from brokersim.statsd_server.embedded import EmbeddedAggregator

    embedded = EmbeddedAggregator(option.server, wall=time.time if clock.speed == 1 else None, log=log)
    return await around.enter_async_context(embedded.running())


def stats_environment(sink: Sink) -> dict[str, str]:
    """What a command inside is told: where it may send statistics of its own, and what is read there."""
    if isinstance(sink, NullSink):
        return {}
    from brokersim.statsd_server.udp import UdpSink

    address = ""
    server = _server_of(sink)
    if server is not None and server.udp_address is not None:
        address = next(each for each in server.addresses if each.startswith(_UDP))
    elif isinstance(sink, UdpSink):
        address = sink.target
    return UdpSink.environment(address.removeprefix(_UDP), sink.dialect) if address else {}


def stats_attributes(sink: Sink) -> dict[str, str]:
    """Broker attributes: ``stats.http``, the HOST:PORT where figures can be looked at."""
    server = _server_of(sink)
    http = None if server is None else server.http_address
    return {"stats.http": http} if http else {}


def _server_of(sink: Sink) -> StatsdServer | None:
    """The server inside the instance, if that is where statistics go."""
    if isinstance(sink, NullSink):
        return None
    from brokersim.statsd_server.embedded import EmbeddedAggregator

    return sink.server if isinstance(sink, EmbeddedAggregator) else None
