"""Knows how lists of hosts are written (RFC 29): ``sim[0-3,7],login``; not which hosts there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from brokersim.protocol.quoting import quoted

#: A list that names more hosts is a mistake or an attack on memory.
HOSTS_MAX: Final = 100_000
_PART: Final = re.compile(r"(?P<prefix>[^\[\],\s]*)(?:\[(?P<ids>[0-9,-]+)\](?P<suffix>[^\[\],\s]*))?(?:,|$)")
_TAIL: Final = re.compile(r"[0-9]{1,9}$")
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


def compress(hosts: Sequence[str]) -> str:
    """The shortest list :func:`expand` reads back in the same order: ``n0,n1,n2`` is ``n[0-2]``."""
    groups: list[tuple[str, list[str]]] = []
    for host in hosts:
        number = _TAIL.search(host)
        prefix, digits = (host[: number.start()], number[0]) if number else (host, "")
        if digits and groups and groups[-1][0] == prefix and groups[-1][1][-1]:
            groups[-1][1].append(digits)
        else:
            groups.append((prefix, [digits]))
    return ",".join(_written(prefix, digits) for prefix, digits in groups)


def _written(prefix: str, digits: list[str]) -> str:
    if len(digits) == 1:
        return prefix + digits[0]
    spans: list[list[str]] = []
    for text in digits:
        last = spans[-1][-1] if spans else ""
        if last and int(text) == int(last) + 1 and f"{int(text):0{len(last)}}" == text:
            spans[-1] = [spans[-1][0], text]
        else:
            spans.append([text])
    return f"{prefix}[{','.join('-'.join(span) for span in spans)}]"


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
