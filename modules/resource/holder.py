"""Knows the scheduler that has the resources, and what it is told of them (RFC 28); not which nodes are up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brokersim.brokermod import Handle, Message, errnums, ranks

from .inventory import without


class Holder:
    """At most one scheduler, by the request with which it took the resources."""

    __slots__ = ("_handle", "_scheduler", "_withheld", "is_mute")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._scheduler: Message | None = None
        #: The ranks it does not know: those excluded when it took the resources (as in flux-core).
        self._withheld: Sequence[int] = ()
        #: The scheduler is told no more of nodes.
        self.is_mute = False

    @property
    def is_there(self) -> bool:
        """Somebody has the resources."""
        return self._scheduler is not None

    def take(self, msg: Message, r: dict[str, Any], up: list[int], withheld: Sequence[int]) -> None:
        """A scheduler has them from now on: R without what is withheld, and who is up."""
        self._scheduler, self._withheld = msg, withheld
        self._handle.respond(msg, {"resources": without(r, withheld), "up": ranks.format_ranks(up)})

    def give_back(self, sender: str, matchtag: int) -> None:
        """The end of its stream, if it is that one."""
        held = self._scheduler
        if held is not None and (held.sender, held.matchtag) == (sender, matchtag):
            self._scheduler = None
            self._handle.respond_error(held, errnums.ENODATA)

    def leave(self, sender: str) -> None:
        """A client went, maybe this one."""
        if self._scheduler is not None and self._scheduler.sender == sender:
            self._scheduler = None

    def tell(self, what: dict[str, Any]) -> None:
        """Something about all resources."""
        if self._scheduler is not None:
            self._handle.respond(self._scheduler, what)

    def tell_change(self, before: list[int], now: list[int]) -> None:
        """Which nodes came and went."""
        down = sorted(set(before).difference(now, self._withheld))
        up = sorted(set(now).difference(before, self._withheld))
        change = {name: ranks.format_ranks(ids) for name, ids in (("down", down), ("up", up)) if ids}
        if self._scheduler is not None and change and not self.is_mute:
            self._handle.respond(self._scheduler, change)
