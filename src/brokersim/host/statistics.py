"""Knows how a module's own statistics are named, timed and sent: by two broker attributes. Not what they are."""

from __future__ import annotations

from functools import partial
from typing import Final

from brokersim.host.callee import Callee
from brokersim.host.repeating import Repeating
from brokersim.routing.sink import NullSink
from brokersim.statsd.client import StatsClient
from brokersim.statsd.names import MODULE_PREFIX, StatsNameError, module_prefix
from brokersim.statsd.outgoing import Send
from brokersim.statsd.receivers import ANY

#: What stands before a module's names, with ``{module}`` and ``{rank}`` in it.
PREFIX_ATTRIBUTE: Final = "stats.prefix"
#: Seconds that a module's statistics are gathered; 0 sends each at once.
PERIOD_ATTRIBUTE: Final = "stats.period"
_PERIOD: Final = 1.0


def client_of(
    module: Callee, send: Send, prefix: str | None = None, period: float | None = None
) -> StatsClient:
    """A statsd context of one module, off where nobody takes its packets. An unreadable attribute is the default."""
    instance = module.broker.instance
    return StatsClient(
        None if isinstance(instance.sink, NullSink) else send,
        prefix=_prefix(module) if prefix is None else prefix,
        period=instance.seconds(PERIOD_ATTRIBUTE, _PERIOD) if period is None else period,
        dialect=instance.sink.dialect or ANY,
        start_timer=partial(Repeating, module.call_later),
        clock=module.now,
    )


def _prefix(module: Callee) -> str:
    template = module.broker.attributes.get(PREFIX_ATTRIBUTE) or MODULE_PREFIX
    rank = module.broker.rank
    try:
        return module_prefix(template, module.name, rank)
    except StatsNameError:
        return module_prefix(MODULE_PREFIX, module.name, rank)
