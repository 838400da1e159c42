"""Whom a client's lines are written for, by name, and what each of them cannot read.

Knows nothing of lines. Light on purpose: a module's process needs it before it has anything to send.
"""

from __future__ import annotations

#: A receiver nobody has named: it gets what every server that was tried reads right.
ANY = "any"
RECEIVERS: tuple[str, ...] = (ANY, "strict", "dogstatsd", "etsy", "brubeck", "collectd")
# What is written for collectd, netdata reads too; what is written for anybody, Prometheus' exporter.
_ALIASES = {"statsd": "etsy", "netdata": "collectd", "prom": ANY}
# The others would add totals up, or not read them at all: they get the differences.
UNDERSTANDS_TOTALS = frozenset({"strict", "brubeck"})
# To brubeck a set is a bad line, to the exporter an error.
WITHOUT_SETS = frozenset({"brubeck", ANY})


class UnknownDialectError(ValueError):
    """No dialect of that name."""


def receiver_name(name: str) -> str:
    """The receiver's own name for a name or an alias of it. Raises UnknownDialectError."""
    found = _ALIASES.get(name, name)
    if found not in RECEIVERS:
        raise UnknownDialectError(f"no statsd dialect {name!r}; there are {', '.join(RECEIVERS)}")
    return found
