"""The door for tests: instances in a test's hands, counter deltas, laws, faults, misbehaving modules. No pytest.

`brokersim.pytest_plugin` makes fixtures of these. Without pytest::

    async def main():
        async with opened(TestOptions(size=2)) as broker:
            with broker.deltas("kvs.0") as d:
                await broker.rpc("kvs.getroot", {"namespace": "primary", "flags": 0})
            assert d == {"request_rx": 1, "response_tx": 1}
            await broker.verify()

    run(main)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from brokersim.kit.deltas import Deltas, Difference, Partial
from brokersim.kit.deltas import Partial as partial
from brokersim.kit.expect import Range, approx, at_least, at_most, between
from brokersim.kit.faults import Fault, Hit
from brokersim.kit.laws import LAWS, Law, LawViolation, Violation
from brokersim.kit.ledger import Ledger, Line
from brokersim.testing import modules
from brokersim.testing.broker import Broker, Impatient, opened
from brokersim.testing.metrics import ExpectedMetrics, StatsSink
from brokersim.testing.options import TestOptions, merged
from brokersim.testing.sync import SyncBroker, clock_for, opened_sync

__all__ = [
    "LAWS", "Broker", "Deltas", "Difference", "ExpectedMetrics", "Fault", "Hit", "Impatient", "Law", "LawViolation",
    "Ledger", "Line", "Partial", "Range", "StatsSink", "SyncBroker", "TestOptions", "Violation", "approx", "at_least",
    "at_most",
    "between", "clock_for", "merged", "modules", "opened", "opened_sync", "partial", "run", "with_broker",
]  # fmt: skip

T = TypeVar("T")


def run(main: Callable[..., Awaitable[T]], *args: Any, clock: str = "virtual") -> T:
    """``trio.run`` on a clock that `opened` can use. Returns what ``main`` returns."""
    return trio.run(main, *args, clock=clock_for(merged({"clock": clock})))


def with_broker(test: Callable[[Broker], Awaitable[T]], **settings: Any) -> T:
    """Run ``await test(broker)`` in a fresh instance and verify it: for ``@given``, one instance an example."""
    options = merged(settings)

    async def main() -> T:
        async with opened(options) as broker:
            result = await test(broker)
            await broker.verify()
            return result

    return trio.run(main, clock=clock_for(options))
