"""Knows how a counter is named: ``request_rx``, ``kvs.0.request_rx``, ``kvs.0.request_rx:kvs.commit``."""

from __future__ import annotations

import attrs

from brokersim.kit.ledger import Party
from brokersim.protocol.message import COUNTER_NAMES

_INDEX = {name: index for index, name in enumerate(COUNTER_NAMES)}


@attrs.frozen(order=True)
class CounterKey:
    """One counter of one module on one rank, or of it the part that one topic made (``topic`` not empty)."""

    name: str
    rank: int
    counter: str
    topic: str = ""

    @property
    def party(self) -> Party:
        return self.rank, self.name

    @property
    def index(self) -> int:
        """Its place among the eight counters."""
        return _INDEX[self.counter]

    def __str__(self) -> str:
        text = f"{self.name}.{self.rank}.{self.counter}"
        return f"{text}:{self.topic}" if self.topic else text


def parse_key(text: str, only: Party | None = None) -> CounterKey:
    """The counter a text means; short forms are for ``only``, if one party is watched.

    Raises ValueError that says what would be right.
    """
    head, _, topic = text.partition(":")
    parts = head.rsplit(".", 2)
    counter = parts[-1]
    if counter not in _INDEX:
        raise ValueError(f"no counter {text!r}; the last word is one of {', '.join(COUNTER_NAMES)}")
    if len(parts) == 3 and parts[1].isdecimal():
        return CounterKey(parts[0], int(parts[1]), counter, topic)
    if len(parts) == 1 and only is not None:
        return CounterKey(only[1], only[0], counter, topic)
    if len(parts) == 1:
        raise ValueError(f"{text!r} of which module? several are watched; give MODULE.RANK.{counter}")
    raise ValueError(f"no counter {text!r}; give MODULE.RANK.{counter}, such as kvs.0.{counter}")
