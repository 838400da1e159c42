"""Knows what may stand between a send and the queue: a gate that refuses, a schedule that sees to the order.

It implements neither; without them a send is the queue's own append, and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from brokersim.protocol.message import Message
from brokersim.reactor.actor import Actor

#: Asked of a message that is to be queued: may it be, now?
Gate = Callable[[Message], bool]


class Schedule(Protocol):
    """Decides when what may be queued is: for searches among the orders that could have been."""

    #: Messages it keeps back now.
    holding: int

    def take(self, message: Message) -> object:
        """Append it to the reactor's ``fifo``, now or later."""

    def withdraw(self, actor: Actor) -> list[Message]:
        """Give up what is kept back for ``actor``, in the order it was sent."""

    def kept_for(self, actor: Actor) -> int:
        """How many messages those are."""
