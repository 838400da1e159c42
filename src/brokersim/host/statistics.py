"""Knows how a module's own statistics are named, timed and sent: by two broker attributes. Not what they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from brokersim.host.repeating import every
from brokersim.statsd.client import Send, StatsClient
from brokersim.statsd.names import MODULE_PREFIX, StatsNameError, module_prefix
from brokersim.statsd.receivers import ANY

if TYPE_CHECKING:
    from brokersim.host.handle import Handle

#: What stands before a module's names, with ``{module}`` and ``{rank}`` in it.
PREFIX_ATTRIBUTE: Final = "stats.prefix"
#: Seconds that a module's statistics are gathered; 0 sends each at once.
PERIOD_ATTRIBUTE: Final = "stats.period"
_PERIOD: Final = 1.0


def client_of(handle: Handle, send: Send | None, dialect: str) -> StatsClient:
    """The statsd context of one module, off where nobody takes its packets. An unreadable attribute is the default."""
    return StatsClient(
        send,
        prefix=_prefix(handle),
        period=handle.broker.instance.seconds(PERIOD_ATTRIBUTE, _PERIOD),
        dialect=dialect or ANY,
        start_timer=partial(every, handle),
        clock=handle.now,
    )


def _prefix(handle: Handle) -> str:
    template = handle.attr_get(PREFIX_ATTRIBUTE) or MODULE_PREFIX
    try:
        return module_prefix(template, handle.name, handle.rank)
    except StatsNameError:
        return module_prefix(MODULE_PREFIX, handle.name, handle.rank)
