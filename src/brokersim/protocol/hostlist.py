"""Knows how lists of hosts are written (RFC 29): ``sim[0-3,7],login``; not which hosts there are."""

from __future__ import annotations

import re
from typing import Final

from brokersim.protocol.quoting import quoted

#: A list that names more hosts is a mistake or an attack on memory.
HOSTS_MAX: Final = 100_000
_PART: Final = re.compile(r"(?P<prefix>[^\[\],\s]*)(?:\[(?P<ids>[0-9,-]+)\](?P<suffix>[^\[\],\s]*))?(?:,|$)")
_SPAN: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def expand(text: str) -> list[str]:
    """The hosts of a list, in its order: ``n[08-10]`` is n08, n09, n10. Raises ValueError."""
    hosts: list[str] = []
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part.end() == at or not (part["prefix"] or part["ids"]):
            raise _bad(text)
        at = part.end()
        ids = [""] if part["ids"] is None else _ids(part["ids"], text, HOSTS_MAX - len(hosts))
        hosts += [f"{part['prefix']}{number}{part['suffix'] or ''}" for number in ids]
    return hosts


def _ids(text: str, whole: str, room: int) -> list[str]:
    found: list[str] = []
    for piece in text.split(","):
        span = _SPAN.fullmatch(piece)
        if span is None:
            raise _bad(whole)
        first, last = int(span[1]), int(span[2] or span[1])
        if last < first or last - first >= room - len(found):
            raise _bad(whole)
        found += [f"{number:0{len(span[1])}}" for number in range(first, last + 1)]
    return found


def _bad(text: str) -> ValueError:
    return ValueError(f"not a list of hosts: {quoted(text)}; give host, host[0-3,7] or several with commas")
