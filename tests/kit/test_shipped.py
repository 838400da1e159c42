"""The suite of examples/regression/shipped.py: deterministic, and no law is broken."""

from __future__ import annotations

import pytest

from brokersim.testing import TestOptions, opened
from brokersim.testing import run as run_trio
from examples.regression.shipped import SCENARIOS


def counted(name: str):
    """Everything a scenario makes modules count, by topic; its laws are checked."""
    scenario, settings = SCENARIOS[name]

    async def main():
        async with opened(TestOptions(**settings)) as broker:
            await scenario(broker)
            await broker.settle()
            assert broker.witness.violations() == []
            for rank in range(broker.instance.size):
                for module in broker.instance.modules(rank):
                    if broker.ledger.tallies[rank, module.name][1, "welcome"] > 1:
                        continue  # reloaded: its own counters began again
                    assert broker.ledger.counters(rank, module.name) == module.handle.counts, module.name
            return broker.ledger.snapshot()

    return run_trio(main)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_shipped_modules_keep_the_laws_and_count_the_same_twice(name):
    first = counted(name)
    assert sum(map(len, first.values())) > 40
    assert first == counted(name)
