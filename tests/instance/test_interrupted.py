"""An instance that is broken off in its start ends like any other."""

from __future__ import annotations

import trio

from brokersim.instance import Instance
from brokersim.protocol.settings import ClockKind
from brokersim.reactor.clock import VirtualClock
from brokersim.services.composition import Settings
from brokersim.testing.metrics import StatsSink


def test_who_is_cancelled_before_the_loop_runs_does_not_wait_for_it() -> None:
    async def main() -> str:
        settings = Settings(modules=("kvs",), clock=ClockKind.parse("virtual"))
        with trio.CancelScope() as scope:
            scope.cancel()
            async with Instance(settings, StatsSink()).running():
                return "it ran"
        return "broken off"

    assert trio.run(main, clock=VirtualClock()) == "broken off"
