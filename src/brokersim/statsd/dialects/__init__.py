"""The dialects by name.

Knows nothing of what they do.
"""

from __future__ import annotations

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.dialects.brubeck import Brubeck
from brokersim.statsd.dialects.collectd import Collectd
from brokersim.statsd.dialects.etsy import Etsy
from brokersim.statsd.dialects.strict import Strict
from brokersim.statsd.receivers import UnknownDialectError

__all__ = ["DIALECTS", "UnknownDialectError", "dialect_name", "open_dialect"]

DIALECTS: tuple[str, ...] = ("strict", "etsy", "brubeck", "collectd")
_CLASSES: dict[str, type[Dialect]] = {each.name: each for each in (Strict, Etsy, Brubeck, Collectd)}
# Strict reads all of DogStatsD's metrics; `prom` names the output, and what is read for it is strict too.
_ALIASES = {"statsd": "etsy", "dogstatsd": "strict", "prom": "strict"}


def dialect_name(name: str) -> str:
    """The dialect's own name for a name or an alias of it. Raises UnknownDialectError."""
    found = _ALIASES.get(name, name)
    if found not in _CLASSES:
        raise UnknownDialectError(f"no statsd dialect {name!r}; there are {', '.join(DIALECTS)}")
    return found


def open_dialect(name: str, config: AggregatorConfig) -> Dialect:
    """A new dialect of that name, with no memory. Raises UnknownDialectError."""
    return _CLASSES[dialect_name(name)](config)
