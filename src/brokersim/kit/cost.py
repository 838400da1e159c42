"""Knows a bound on the processor time that a check's broker may use, and what was used; not how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from brokersim.kit.baseline import parse_percent
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration

#: What a check counts of a command (kit/checked_run.py).
OPERATIONS: Final = ("job", "commit", "rpc")
_HINT: Final = (
    "give a share of a core, 5%, or a time an operation, 2ms/rpc; what may be over it behind: 5%±10%"
)


@attrs.frozen(kw_only=True)
class Used:
    """Processor and wall time in s, from the command's begin to its end."""

    cpu: float
    wall: float


@attrs.frozen(kw_only=True)
class CostBound:
    """At most so many s an operation or, without one, s a second: a share of a core. ``percent`` over it may pass."""

    text: str
    most: float
    operation: str = ""
    percent: float = 0.0

    @classmethod
    def parse(cls, text: str) -> CostBound:
        """``5%``, ``2ms/rpc``, ``5%±10%``. Raises ValueError."""
        bound, _, over = text.replace("+-", "±").partition("±")
        most, slash, operation = bound.strip().partition("/")
        try:
            if slash and operation not in OPERATIONS:
                raise ValueError(f"no operation {operation!r}: {', '.join(OPERATIONS)}")
            return cls(
                text=text,
                most=parse_duration(most) if slash else parse_percent(most) / 100,
                operation=operation,
                percent=parse_percent(over) if over else 0.0,
            )
        except ValueError:
            raise ValueError(f"not a bound: {text!r}; {_HINT}") from None


@attrs.frozen(kw_only=True)
class Cost:
    """What was used beside its bound; ``got`` is in the bound's unit, None if no such operation was counted."""

    bound: CostBound
    got: float | None

    @property
    def ok(self) -> bool:
        return self.got is not None and self.got <= self.bound.most * (1 + self.bound.percent / 100)

    def __str__(self) -> str:
        if self.got is None:
            return f"cost: no {self.bound.operation} was counted; at most {self.bound.text}"
        return f"cost: the broker used {self._shown(self.got)}; at most {self.bound.text}"

    def _shown(self, value: float) -> str:
        operation = self.bound.operation
        return f"{value * 1000:.3g}ms/{operation}" if operation else f"{value * 100:.3g}% of a core"

    def to_dict(self) -> JsonObject:
        """Seconds an operation, or s a second."""
        bound = self.bound
        return {
            "ok": self.ok, "got": self.got, "most": bound.most, "tolerance_percent": bound.percent,
            "per_operation": bound.operation or None,
        }  # fmt: skip


def cost(used: Used, operations: Mapping[str, int], bound: CostBound) -> Cost:
    """What a run used, as its bound is given."""
    number = operations.get(bound.operation, 0) if bound.operation else used.wall
    return Cost(bound=bound, got=used.cpu / number if number else None)
