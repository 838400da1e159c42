"""The door for tests: instances in a test's hands, counter deltas, laws, faults, misbehaving modules. No pytest.

`brokersim.pytest_plugin` makes fixtures of these. Without pytest::

    async def greets_once(broker):
        with broker.deltas("kvs.0") as d:
            await broker.rpc("kvs.getroot", {"namespace": "primary", "flags": 0})
        assert d == {"request_rx": 1, "response_tx": 1}

    run(greets_once, size=2, seed=7)

Importing it imports no broker and no trio: a name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from brokersim.testing import modules

if TYPE_CHECKING:
    from brokersim.kit.deltas import Deltas, Difference, Partial, partial
    from brokersim.kit.expect import Range, approx, at_least, at_most, between
    from brokersim.kit.fault import Fault, Hit
    from brokersim.kit.laws import LAWS, Law, LawViolation, Violation
    from brokersim.kit.ledger import Ledger, Line
    from brokersim.testing import strategies
    from brokersim.testing.broker import Broker, opened
    from brokersim.testing.fixtures import Instances
    from brokersim.testing.metrics import ExpectedMetrics, StatsSink
    from brokersim.testing.options import TestOptions, merged
    from brokersim.testing.running import run, with_broker
    from brokersim.testing.statsd import Statsd
    from brokersim.testing.sync import SyncBroker, clock_for, opened_sync
    from brokersim.testing.udp import StatsUdp
    from brokersim.testing.waits import Impatient

__all__ = [
    "LAWS", "Broker", "Deltas", "Difference", "ExpectedMetrics", "Fault", "Hit", "Impatient", "Instances",
    "Law", "LawViolation", "Ledger", "Line", "Partial", "Range", "StatsSink", "StatsUdp", "Statsd",
    "SyncBroker", "TestOptions", "Violation", "approx", "at_least", "at_most", "between", "clock_for", "merged",
    "modules", "opened", "opened_sync", "partial", "run", "strategies", "with_broker",
]  # fmt: skip

#: Where the names are.
_HOMES = {
    "kit.deltas": ("Deltas", "Difference", "Partial", "partial"),
    "kit.expect": ("Range", "approx", "at_least", "at_most", "between"),
    "kit.fault": ("Fault", "Hit"),
    "kit.laws": ("LAWS", "Law", "LawViolation", "Violation"),
    "kit.ledger": ("Ledger", "Line"),
    "testing.broker": ("Broker", "opened"),
    "testing.fixtures": ("Instances",),
    "testing.metrics": ("ExpectedMetrics", "StatsSink"),
    "testing.options": ("TestOptions", "merged"),
    "testing.running": ("run", "with_broker"),
    "testing.statsd": ("Statsd",),
    "testing.sync": ("SyncBroker", "clock_for", "opened_sync"),
    "testing.udp": ("StatsUdp",),
    "testing.waits": ("Impatient",),
}
_HOME_OF = {name: f"brokersim.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "strategies":
        return importlib.import_module("brokersim.testing.strategies")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'brokersim.testing' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(home), name)
    return found
