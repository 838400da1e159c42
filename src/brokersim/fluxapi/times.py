"""Knows what time it is for a file written for Flux that says ``time.time()``: virtual time where time is virtual.

There it has nothing to do with the machine's, and schedulers compare what they read with the ends of jobs.
See docs/decisions/0170-a-files-time-is-its-instances.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType
from typing import Any, Final

from greenlet import getcurrent

from brokersim.fluxapi.endpoint import FluxEndpoint
from brokersim.host.blocking import Worker


class _Time(ModuleType):
    """Module ``time``, but for the functions that tell it."""

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


def _virtual() -> FluxEndpoint | None:
    """The handle of the module that runs now, if its clock is a virtual one."""
    running = getcurrent()
    handle = running.handle if isinstance(running, Worker) else None
    return handle if isinstance(handle, FluxEndpoint) and handle.reactor.jumps else None


def _now() -> float:
    handle = _virtual()
    return time.time() if handle is None else handle.time()


def _now_ns() -> int:
    return round(_now() * 1e9)


def _monotonic() -> float:
    handle = _virtual()
    return time.monotonic() if handle is None else handle.now()


def _monotonic_ns() -> int:
    return round(_monotonic() * 1e9)


def follow_instance(module: ModuleType) -> None:
    """What the file calls ``time``, or took from there, is its instance's from now on; so in files it runs by itself.

    Those are not among the interpreter's modules; what is there belongs to others as well.
    """
    names = vars(module)
    for name, value in list(names.items()):
        if value is time:
            names[name] = _time
        elif isinstance(value, ModuleType) and sys.modules.get(value.__name__) is not value:
            follow_instance(value)
        elif isinstance(value, BuiltinFunctionType) and value in _TOLD:
            names[name] = _TOLD[value]


_TOLD: Final[dict[Any, Callable[[], Any]]] = {
    time.time: _now,
    time.time_ns: _now_ns,
    time.monotonic: _monotonic,
    time.monotonic_ns: _monotonic_ns,
}
_time: Final = _Time("time")
vars(_time).update({told.__name__: ours for told, ours in _TOLD.items()})
