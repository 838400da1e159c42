"""Knows where an instance's statistics go and what has to run around it for that; not what is sent there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from brokersim.program import make_sink
from brokersim.protocol.settings import ClockKind
from brokersim.routing.sink import Sink
from brokersim.statsd_server.aggregator_process import AggregatorError, SupervisedAggregator
from brokersim.statsd_server.embedded import EmbeddedAggregator
from brokersim.statsd_server.option import MEMORY, StatsOption, parse_stats
from brokersim.statsd_server.udp import UdpSink

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
    embedded = EmbeddedAggregator(option.server, wall=time.time if clock.speed == 1 else None, log=log)
    return await around.enter_async_context(embedded.running())


def stats_environment(sink: Sink) -> dict[str, str]:
    """What a command inside is told: where it may send statistics of its own, and what is read there."""
    address = ""
    if isinstance(sink, EmbeddedAggregator) and sink.server.udp_address is not None:
        address = next(each for each in sink.server.addresses if each.startswith(_UDP))
    elif isinstance(sink, UdpSink):
        address = sink.target
    return UdpSink.environment(address.removeprefix(_UDP), sink.dialect) if address else {}


def stats_attributes(sink: Sink) -> dict[str, str]:
    """Broker attributes: ``stats.http``, the HOST:PORT where figures can be looked at."""
    http = sink.server.http_address if isinstance(sink, EmbeddedAggregator) else None
    return {"stats.http": http} if http else {}
