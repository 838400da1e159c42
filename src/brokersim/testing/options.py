"""Knows what a test's instance can be: the settings of the marker and of the `instance` fixture, checked."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import converters, field, frozen, validators

from brokersim.kit.laws import LAWS, Relaxation, parse_relaxations
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import SIMULATED, ClockKind, check_hook, check_jobs
from brokersim.reactor.cost import CostModel
from brokersim.reactor.watchdog import HANDLER_TIMEOUT
from brokersim.routing.link import DEFAULT_LATENCY
from brokersim.services.composition import DEFAULT_MODULES, Settings
from brokersim.testing.callers import TRANSPORTS


def _paths(given: Iterable[str | Path]) -> tuple[Path, ...]:
    return tuple(Path(one) for one in given)


def _kind(given: str | ClockKind) -> ClockKind:
    return given if isinstance(given, ClockKind) else ClockKind.parse(given)


def _relaxed(given: object) -> dict[str, Relaxation]:
    if isinstance(given, Mapping):
        everything = given.get("all")
        if everything is not None:
            return parse_relaxations(dict.fromkeys(LAWS, everything))
        return parse_relaxations(given)
    if given in (None, True):
        return {}
    raise ValueError("laws=False needs a reason: laws={'all': 'why no law can hold here'}")


def _transport(_instance: object, _attribute: object, value: str) -> None:
    if value not in TRANSPORTS:
        why = ": tests are one process, and ZeroMQ joins ranks on several hosts" if value == "zmq" else ""
        raise ValueError(f"no transport {value!r}{why}; there are {', '.join(TRANSPORTS)}")


def _alarm_is_taken() -> bool:
    """The watchdog works by SIGALRM; whoever has its timer running keeps it."""
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


@frozen(kw_only=True)
class TestOptions:
    """An instance for a test. Making it raises ValueError or TypeError that names the bad setting.

    ``mask`` maps module names to debug masks, set on every rank where they are loaded; ``laws`` maps names of
    laws to the reason why they cannot hold (``"all"`` relaxes every one). A handler that does not return for
    ``handler_timeout`` seconds of real time ends with its module (in coroutine tests; not beside another user of
    SIGALRM, such as pytest-timeout). ``flux`` lets ``--brokersim-flux`` run the test against a real Flux as well.
    The rest is `brokersim.open_instance`'s.
    """

    __test__ = False

    size: int = field(default=1, validator=validators.ge(1))
    fanout: int = 2
    modules: tuple[str, ...] = field(default=DEFAULT_MODULES, converter=tuple)
    module_path: tuple[Path, ...] = field(default=(), converter=_paths)
    hook: str = field(default="prepare", converter=check_hook)
    clock: ClockKind = field(factory=lambda: ClockKind(0.0), converter=_kind)
    seed: int = 0
    mask: dict[str, int] = field(factory=dict, converter=dict)
    laws: dict[str, Relaxation] = field(default=None, converter=_relaxed)
    transport: str = field(default="memory", validator=_transport)
    handler_timeout: float = field(default=HANDLER_TIMEOUT, validator=validators.gt(0))
    flux: bool = False
    latency: float = DEFAULT_LATENCY
    cost: CostModel | None = None
    resources: str = "1x4"
    jobs: str = field(default=SIMULATED, converter=check_jobs)
    state_dir: Path | None = field(default=None, converter=converters.optional(Path))
    attrs: dict[str, str] = field(factory=dict, converter=dict)
    conf: JsonObject = field(factory=dict, converter=dict)

    @classmethod
    @cache
    def names(cls) -> tuple[str, ...]:
        """The settings there are."""
        return tuple(inspect.signature(cls).parameters)

    def settings(self) -> Settings:
        """The same for `Instance`."""
        return Settings(
            size=self.size,
            fanout=self.fanout,
            clock=self.clock,
            seed=self.seed,
            modules=self.modules,
            module_path=self.module_path,
            hook=self.hook,
            latency=self.latency,
            cost=self.cost,
            watchdog=None if _alarm_is_taken() else self.handler_timeout,
            resources=Resources.parse(self.resources),
            jobs=self.jobs,
            state_dir=self.state_dir,
            attributes=self.attrs,
            conf=self.conf,
        )


def merged(*settings: Mapping[str, Any]) -> TestOptions:
    """Options from several tables, later ones first in rank. Raises ValueError naming an unknown setting."""
    given: dict[str, Any] = {}
    for table in settings:
        given |= table
    unknown = [name for name in given if name not in TestOptions.names()]
    if unknown:
        raise ValueError(f"no setting {unknown[0]!r}; there are {', '.join(TestOptions.names())}")
    return TestOptions(**given)
