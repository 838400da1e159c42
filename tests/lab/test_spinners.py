"""Jobs beside modules that spin: how much slower the model makes them, held against a real Flux."""

from __future__ import annotations

from typing import Any

import brokersim
from brokersim.lab.load.bulk import bulk_jobs_inside
from brokersim.reactor.cost import CostModel
from tests.host.live import write


def seconds(spinner: str, copies: int) -> float:
    """Modelled time of 100 jobs submitted at once."""

    async def main() -> float:
        async with brokersim.open_instance(clock="virtual", cost=CostModel(), hook="idle") as instance:
            for number in range(copies):
                await instance.load(spinner, name=f"spinner{number}")
                instance.broker(0).module(f"spinner{number}").set_mask(0x1000)
            begin = instance.reactor.now
            await bulk_jobs_inside(instance, 100, 0.001)
            return (instance.reactor.now - begin) / 1e9

    return brokersim.run(main, clock="virtual")


def test_a_hundred_jobs_beside_eight_modules_with_an_idle_hook_take_four_to_seven_times_as_long(
    tmp_path: Any,
):
    """flux-core 0.88 on two cores: 4.4 to 5.4 times beside C modules, 6.3 to 7.0 beside Python ones."""
    spinner = write(
        tmp_path, "spinner", '@request_handler("x")\ndef x(self, msg):\n    self.handle.respond(msg)'
    )
    assert 4 < seconds(spinner, 8) / seconds(spinner, 0) < 7
