"""Knows how to have both engines in one process: brokersim as it was imported, and once more as pure Python."""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from types import ModuleType, SimpleNamespace

from brokersim.native import PURE

#: What a test on the floor of the reactor needs, by short name. Nothing of these is imported later, inside a function.
PARTS = {
    "actor": "brokersim.reactor.actor",
    "cost": "brokersim.reactor.cost",
    "endpoint": "brokersim.routing.endpoint",
    "engine": "brokersim.native.engine",
    "errnums": "brokersim.protocol.errnums",
    "instrument": "brokersim.host.instrument",
    "loop": "brokersim.reactor.loop",
    "message": "brokersim.protocol.message",
    "rank": "brokersim.routing.rank",
    "turn": "brokersim.reactor.turn",
    "watchers": "brokersim.reactor.watchers",
    "wire": "brokersim.protocol.wire",
}


class Copy(SimpleNamespace):
    """One brokersim: its modules by short name."""

    def __getattr__(self, name: str) -> ModuleType:
        raise AttributeError(name)


@cache
def usual() -> Copy:
    """As everybody has it."""
    return Copy(**{name: importlib.import_module(path) for name, path in PARTS.items()})


@cache
def python() -> Copy:
    """Another copy of the same modules, on the Python engine."""
    usual()
    others = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "brokersim"
    }
    before = os.environ.get(PURE)
    os.environ[PURE] = "1"
    try:
        return Copy(**{name: importlib.import_module(path) for name, path in PARTS.items()})
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "brokersim"]:
            del sys.modules[name]
        sys.modules.update(others)
        if before is None:
            del os.environ[PURE]
        else:
            os.environ[PURE] = before
