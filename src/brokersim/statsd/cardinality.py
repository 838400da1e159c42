"""Who makes the series there are: how many keys begin alike, and how many each sender was the first to send.

Knows nothing of values or of when it is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

K = TypeVar("K", str, bytes)
#: As many as one reads at a glance.
TOP = 10


@attrs.frozen(kw_only=True)
class Cardinality:
    """The most, largest first: names up to their first and second dot, and hosts; each with its number of keys."""

    prefixes: tuple[tuple[str, int], ...]
    senders: tuple[tuple[str, int], ...]


def cardinality(prefixes: Iterable[tuple[bytes, int]], senders: Mapping[str, int]) -> Cardinality:
    """Of what was counted. A sender's ports are one sender."""
    hosts: Counter[str] = Counter()
    for sender, count in senders.items():
        hosts[_host(sender)] += count
    shown = tuple((prefix.decode("utf-8", "backslashreplace"), count) for prefix, count in prefixes)
    return Cardinality(prefixes=shown, senders=tuple(_most(hosts, TOP)))


def counted(
    makers: Iterable[tuple[bytes, str | None]], top: int
) -> tuple[list[tuple[bytes, int]], Counter[str]]:
    """Of keys, each with who sent it first: the beginnings with most keys, and keys by sender, who must be known."""
    prefixes: Counter[bytes] = Counter()
    senders: Counter[str] = Counter()
    for key, sender in makers:
        name = key.partition(b";")[0]
        first, dot, rest = name.partition(b".")
        if dot:
            prefixes[first] += 1
            second, dot, _ = rest.partition(b".")
            if dot:
                prefixes[first + b"." + second] += 1
        if sender is not None:
            senders[sender] += 1
    return _most(prefixes, top), senders


def _host(sender: str) -> str:
    host, colon, port = sender.rpartition(":")
    return host if colon and port.isdigit() else sender


def _most(counts: Counter[K], top: int) -> list[tuple[K, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:top]
