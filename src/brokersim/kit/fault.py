"""A fault as a value: what it is, which messages it is for, and what it hit. What it does is done elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from fnmatch import fnmatchcase

import attrs

from brokersim.protocol.errnums import ENOSPC
from brokersim.protocol.message import TYPE_NAMES, Message
from brokersim.reactor.loop import NS

_TYPES = {name: number for number, name in TYPE_NAMES.items()}


@attrs.frozen
class Hit:
    """One thing a fault hit: when (s), what it was, where it was going."""

    time: float
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.time:.6f} s  {self.what} → {self.where}"


@attrs.define(eq=False, kw_only=True)
class Fault:
    """One fault. It acts on the messages that match, at most ``count`` of them, each with probability ``p``.

    ``topic`` is a glob; ``type`` request, response or event; ``to`` the module or client a message is handed
    to; ``rank`` that one's rank. All that it hit is in ``hits``.
    """

    kind: str
    topic: str = "*"
    type: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.in_(_TYPES))
    )
    to: str | None = None
    rank: int | None = None
    count: int | None = None
    p: float = attrs.field(default=1.0, validator=[attrs.validators.gt(0), attrs.validators.le(1)])
    seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    errnum: int = ENOSPC
    hits: list[Hit] = attrs.field(factory=list, init=False)
    is_on: bool = attrs.field(default=True, init=False)
    undo: Callable[[], object] | None = attrs.field(default=None, init=False)

    def stop(self) -> None:
        """It hits nothing any more; a rank that crashed or was cut off is started anew, and all below."""
        if self.is_on:
            self.is_on = False
            if self.undo is not None:
                self.undo()

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def matches(self, message: Message, chance: random.Random) -> bool:
        """Is it for this message, and its turn?"""
        if not self.is_on or (self.count is not None and len(self.hits) >= self.count):
            return False
        dst = message.dst
        return (
            fnmatchcase(message.topic, self.topic)
            and (self.type is None or message.type == _TYPES[self.type])
            and (self.to is None or dst.name == self.to)
            and (self.rank is None or dst.broker.rank == self.rank)
            and (self.p == 1.0 or chance.random() < self.p)
        )

    def hit(self, now: int, message: Message) -> None:
        where = "nobody" if message.dst is None else f"{message.dst.name}.{message.dst.broker.rank}"
        self.hits.append(Hit(now / NS, f"{message.type_str} {message.topic}", where))

    def report(self) -> str:
        """What it hit, by what it was."""
        if not self.hits:
            return f"fault {self}: hit nothing"
        kinds: dict[str, int] = {}
        for hit in self.hits:
            text = f"{hit.what} → {hit.where}"
            kinds[text] = kinds.get(text, 0) + 1
        return f"fault {self}: {len(self.hits)} hit: " + ", ".join(
            f"{n} × {text}" for text, n in kinds.items()
        )

    def __str__(self) -> str:
        wanted = [f"topic={self.topic}"] if self.topic != "*" else []
        wanted += [
            f"{name}={value}" for name in ("type", "to", "rank") if (value := getattr(self, name)) is not None
        ]
        return " ".join([self.kind, *wanted])
