"""Knows how one instance is watched: its ledger, its faults, when it is at rest, and what is wrong with its run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from brokersim.instance import Instance
from brokersim.kit.faults import Faults
from brokersim.kit.laws import Relaxation, Violation, violations
from brokersim.kit.ledger import Ledger

#: Seconds between two looks at whether messages still move: more than any hop, less than any timer of a module.
_STEP = 0.001
#: Looks without a move after which an instance is at rest, and looks in all: half a second.
_QUIET, _LOOKS = 2, 500


class Witness:
    """Watches an instance from before its boot to the verdict."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.ledger = Ledger(instance)
        self.faults = Faults(self.ledger)

    async def settle(self) -> None:
        """Wait until nothing is queued, on a link or in a module's hands; at most half a second of its clock."""
        await self.instance.sleep(0)  # what the test has just sent is let in
        if self.instance.size == 1 and not self.instance.reactor.charged and self._at_rest():
            return
        quiet, seen = 0, -1
        for _ in range(_LOOKS):
            await self.instance.sleep(_STEP)
            moved = self.ledger.moves
            quiet = quiet + 1 if moved == seen and self._at_rest() else 0
            seen = moved
            if quiet >= _QUIET:
                return

    def _at_rest(self) -> bool:
        reactor = self.instance.reactor
        waiting = (
            any(message.type for message in reactor.fifo)
            or (reactor.schedule is not None and reactor.schedule.holding)
            or self.ledger.in_flight
            or self.faults.holding
        )
        return not waiting and not any(
            endpoint.station is not None and endpoint.station.is_busy
            for endpoint in self.instance.all_endpoints()
        )

    def violations(
        self, names: Iterable[str] | None = None, relaxed: Mapping[str, Relaxation] | None = None
    ) -> list[Violation]:
        """The laws that are broken; settle first."""
        return violations(self.ledger, names, relaxed)

    def idle_faults(self) -> str:
        """What is wrong with the faults: those that hit nothing; "" if nothing is."""
        return "\n".join(f"{fault.report()}; it tested nothing" for fault in self.faults.idle())
