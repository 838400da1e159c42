"""The reactor's gate under faults: what becomes of each message that is about to be queued for whom it goes to.

Messages are hit there, and not on their way, so that a fault can name the module a message is handed to. It doesn't
know what is done to ranks, disks or packets.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from brokersim.kit.conversations import wants_answer
from brokersim.kit.fault import Fault
from brokersim.kit.ledger import Ledger
from brokersim.protocol.message import EVENT, REQUEST, RESPONSE, Message
from brokersim.reactor.loop import NS

#: Seconds a message held back by ``reorder`` waits for another to pass it.
_HELD = 0.001


def crash(module: Any) -> None:
    """A module ends at once, as if it had raised."""
    module.crashed(RuntimeError("killed on purpose"), None)


class FaultGate:
    """Asks each fault in turn whether it hits a message; the first that does decides what becomes of it.

    A message that is hit is excused from the laws: a request that was dropped need not be answered. It comes in by
    ``admit``, past this gate, when a fault that only delays it has done so.
    """

    def __init__(self, ledger: Ledger, faults: list[Fault], chance: random.Random) -> None:
        self._ledger = ledger
        self._reactor = ledger.instance.reactor
        self._faults = faults
        self._chance = chance
        self._held: list[Message] = []

    def open(self) -> None:
        """From now on the reactor asks here."""
        self._reactor.put_gate(self._may_pass)

    @property
    def holding(self) -> int:
        """Messages held back now."""
        return len(self._held)

    def release(self) -> None:
        """Let go what is held back."""
        for message in list(self._held):
            self._let_go(message)

    def _may_pass(self, message: Message) -> bool:
        """The reactor's gate: a message that no fault hits passes, and sets free what was held until it had."""
        if self._act(message):
            return False
        overtaken = [held for held in self._held if held.dst is message.dst]
        if not overtaken:
            return True
        self._reactor.admit(message)
        for held in overtaken:
            self._excuse(message)  # it has overtaken
            self._let_go(held)
        return False

    def _let_go(self, message: Message) -> None:
        """A message held back has waited long enough."""
        if message in self._held:
            self._held.remove(message)
            self._reactor.admit(message)

    def _act(self, message: Message) -> str:
        """What happens to a message about to be queued: "" (nothing) or the kind of the fault that hits it."""
        for fault in self._faults:
            if fault.kind == "fail" and not wants_answer(message):
                continue  # nobody would hear that it failed; what it asks for is done
            if fault.kind in MESSAGE_KINDS and fault.matches(message, self._chance):
                fault.hit(self._reactor.now, message)
                self._excuse(message)
                MESSAGE_KINDS[fault.kind](self, fault, message)
                return fault.kind
        return ""

    def _excuse(self, message: Message) -> None:
        """What a fault did to this message is no law's business."""
        if message.type == REQUEST and wants_answer(message):
            self._ledger.conversations.excuse((message.src.uuid, message.matchtag))
        elif message.type == RESPONSE:
            self._ledger.conversations.excuse((message.dst.uuid, message.matchtag))
        elif message.type == EVENT:
            self._ledger.deliveries.excuse(message.dst, message.seq)

    def _dropped(self, fault: Fault, message: Message) -> None:
        """It is gone."""

    def _delayed(self, fault: Fault, message: Message) -> None:
        reactor = self._reactor
        reactor.call_at(reactor.now + round(fault.seconds * NS), reactor.admit, message)

    def _doubled(self, fault: Fault, message: Message) -> None:
        again = copy.copy(message)
        self._reactor.admit(message)
        self._reactor.admit(again)

    def _reordered(self, fault: Fault, message: Message) -> None:
        reactor = self._reactor
        self._held.append(message)
        reactor.call_at(reactor.now + round(_HELD * NS), self._let_go, message)

    def _failed(self, fault: Fault, message: Message) -> None:
        endpoint = message.dst
        text = f"{message.topic} fails on purpose"
        endpoint.handed(message)
        endpoint.respond_error(message, fault.errnum, text)

    def _killed(self, fault: Fault, message: Message) -> None:
        self._reactor.admit(message)
        crash(message.dst.module)


_Act = Callable[[FaultGate, Fault, Message], None]
#: Faults of messages, and what each does to one it hits.
MESSAGE_KINDS: dict[str, _Act] = {
    "drop": FaultGate._dropped,
    "delay": FaultGate._delayed,
    "duplicate": FaultGate._doubled,
    "reorder": FaultGate._reordered,
    "fail": FaultGate._failed,
    "kill": FaultGate._killed,
}
