"""Metric names: statsd's cleaning, tags, limits. What `strict` makes of names is in `keys`.

Knows nothing of values or of what a backend does with a name.
"""

from __future__ import annotations

import re

# Longer keys are refused. brubeck dies of keys of about 1000 bytes, and a flush appends `.percentile.999` and the like.
MAX_KEY = 900
# Longer ones are not sent: the two lines that set a gauge below 0 must fit one packet with any number.
MAX_SENT_KEY = 512

# Where a module's own statistics are: beside its message counters, which have the same two parts. The seeds' names have
# no rank, so the values of several ranks are one series: right for timings, wrong for gauges.
MODULE_PREFIX = "flux.{module}.{rank}"
JOURNAL_PREFIX = "flux.{module}"

_BLANKS = re.compile(rb"\s+")
_DROPPED = re.compile(rb"[^A-Za-z0-9_.;=\-]")
_CLEAN = re.compile(rb"[A-Za-z0-9_.=\-]+")
_LEGAL_NAME = re.compile(r"[A-Za-z0-9_.;=\-]+")


class StatsNameError(ValueError):
    """A metric name that cannot be sent without being mangled or breaking its line."""


def clean(name: bytes) -> bytes:
    """statsd's cleaning: blanks become `_`, `/` becomes `-`, all but `[A-Za-z0-9_.;=-]` is dropped."""
    if _CLEAN.fullmatch(name):
        return name
    return _DROPPED.sub(b"", _BLANKS.sub(b"_", name).replace(b"/", b"-"))


def is_plain_key(name: bytes) -> bool:
    """Is the name of a line its key in every dialect, with nothing to be looked at but what is reserved?"""
    return len(name) <= MAX_KEY and _CLEAN.fullmatch(name) is not None


def split_tags(key: str) -> tuple[str, str]:
    """`name` and `;a=b` of a key; what a flush appends goes between the two."""
    name, semicolon, tags = key.partition(";")
    return name, semicolon + tags


def join_name(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def check_name(key: str) -> str:
    """`key` itself, if every server takes it as it is. Raises StatsNameError."""
    if not key:
        raise StatsNameError("a metric name is empty; give it at least one letter")
    if len(key) > MAX_SENT_KEY:
        raise StatsNameError(
            f"metric name {key[:40]!r}… has {len(key)} characters; at most {MAX_SENT_KEY} are sent, prefix included"
        )
    if _LEGAL_NAME.fullmatch(key) is None:
        raise StatsNameError(
            f"metric name {key!r} would be mangled by a statsd server; use letters, digits and _ . - ; ="
        )
    return key


def module_prefix(template: str, module: str, rank: int) -> str:
    """What stands before a module's names: `{module}` and `{rank}` filled in. Raises StatsNameError."""
    prefix = template.replace("{module}", module).replace("{rank}", str(rank))
    return check_name(prefix.rstrip("."))
