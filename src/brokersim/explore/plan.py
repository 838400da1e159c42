"""Knows what a plan is: everything one example needs, as JSON. Not where it comes from, nor how it is run."""

from __future__ import annotations

from typing import Final

import msgspec

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, RequestError

#: Goes up when a plan's meaning changes; plans of another version are refused, not guessed at.
VERSION: Final = 1
#: (topic, rank, n): right before the n-th message of a topic (from 1) is handed over on that rank.
Anchor = tuple[str, int, int]


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happens on a rank, at a time (s after the boot) or at an anchor."""

    rank: int = 0
    at: float | None = None
    on: Anchor | None = None

    @property
    def what(self) -> str:
        """Its name in an error."""
        raise NotImplementedError


class Step(Item, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a client does: ``op`` is ``family.verb``. ``id`` stays the same when other steps are taken away."""

    id: int
    op: str
    args: JsonObject = {}

    @property
    def what(self) -> str:
        return self.op


class PlannedFault(Item, frozen=True, kw_only=True, omit_defaults=True):
    """One fault: its kind with what that takes, ``seconds`` long."""

    kind: str
    seconds: float = 0.0
    #: The module it is about, or the topic.
    to: str | None = None
    errnum: int = 0
    count: int = 1
    #: Seconds that messages are late.
    delay: float = 0.0

    @property
    def what(self) -> str:
        return self.kind


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One example: an instance, what is asked of it, what goes wrong in it, and in which order.

    ``latency`` and ``spread`` (of hand-overs, see `schedule`) in seconds; ``order`` is the seed of the latter, ``seed``
    the instance's. ``modules`` are loaded in this order; empty: what the families of its steps need.
    """

    version: int = VERSION
    seed: int = 0
    size: int = 1
    fanout: int = 2
    latency: float = 50e-6
    order: int = 0
    spread: float = 0.0
    modules: tuple[str, ...] = ()
    #: Modules of the one who asks for it, loaded behind the others.
    own: tuple[str, ...] = ()
    #: Families whose invariants are checked, those of the steps included.
    families: tuple[str, ...] = ()
    has_disk: bool = False
    #: Attributes of the instance: limits so low that they are reached.
    attributes: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    faults: tuple[PlannedFault, ...] = ()

    def to_json(self, *, is_pretty: bool = False) -> bytes:
        """Equal plans have equal bytes."""
        text = msgspec.json.encode(self, order="sorted")
        return msgspec.json.format(text, indent=1) if is_pretty else text

    def replace(self, **changes: object) -> Plan:
        """The same but for these fields."""
        return msgspec.structs.replace(self, **changes)

    @property
    def items(self) -> tuple[Item, ...]:
        """Steps and faults."""
        return (*self.steps, *self.faults)

    @property
    def weight(self) -> int:
        """How many those are."""
        return len(self.steps) + len(self.faults)


def from_json(text: bytes, where: str) -> Plan:
    """Raises RequestError(EINVAL) that says what is wrong with the plan at ``where``."""
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except msgspec.DecodeError as error:
        raise RequestError(EINVAL, f"{where} is no plan: {error}") from None
    if plan.version != VERSION:
        raise RequestError(
            EINVAL, f"{where} is a plan of version {plan.version}; this brokersim reads version {VERSION}"
        )
    for item in plan.items:
        if (item.at is None) == (item.on is None):
            raise RequestError(
                EINVAL, f"{where}: {item.what} needs a time (at) or an anchor (on), one of them"
            )
        if not 0 <= item.rank < plan.size:
            raise RequestError(
                EINVAL, f"{where}: {item.what} is for rank {item.rank}, and the plan has {plan.size} ranks"
            )
    return plan
