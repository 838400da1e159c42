"""A statsd server in forty lines, written from the servers' documentation: the model our client is held against.

Knows nothing of brokersim. It reads only what the named server reads and fails on anything else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_LINE = {
    "strict": rf"([\w.]+):((?:{_NUMBER})(?::{_NUMBER})*\|(?:c|C|g|ms)|[^|]*\|s)",
    "etsy": rf"([\w.]+):((?:{_NUMBER}\|(?:c|g|ms))(?::{_NUMBER}\|ms)*|[^|:]*\|s)",
    "brubeck": rf"([\w.]+):({_NUMBER}\|(?:c|C|g|ms))",
    "collectd": rf"([\w.]+):({_NUMBER}\|(?:c|g|ms)|[^|:]*\|s)",
}


class ReferenceServer:
    def __init__(self, dialect: str) -> None:
        self.line = re.compile(_LINE[dialect])
        self.counters: Counter[str] = Counter()
        self.gauges: dict[str, int] = {}
        self.timings: dict[str, list[float]] = defaultdict(list)
        self.sets: dict[str, set[str]] = defaultdict(set)
        self.totals: dict[str, int] = {}
        self.packets: list[bytes] = []

    def receive(self, packet: bytes) -> None:
        assert 0 < len(packet) <= 1440
        self.packets.append(packet)
        for line in packet.decode().split("\n"):
            match = self.line.fullmatch(line)
            assert match, f"no such line here: {line!r}"
            self._value(match[1], match[2])

    def _value(self, key: str, text: str) -> None:
        kind = text.rpartition("|")[2]
        if kind == "s":
            self.sets[key].add(text[:-2])
            return
        for part in text.split(":"):
            value = part.partition("|")[0]
            if kind == "c":
                self.counters[key] += int(value)
            elif kind == "C":
                last = self.totals.get(key)
                self.counters[key] += 0 if last is None else int(value) - (last if int(value) >= last else 0)
                self.totals[key] = int(value)
            elif kind == "g":
                signed = value[0] in "+-"
                self.gauges[key] = (self.gauges.get(key, 0) if signed else 0) + int(value)
            else:
                self.timings[key].append(float(value))
