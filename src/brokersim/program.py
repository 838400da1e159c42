"""Knows how a program runs an instance: on which clock, with which settings, talking to which statsd."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from brokersim.protocol.decoded import JsonView
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind

if TYPE_CHECKING:
    from brokersim.instance import Instance
    from brokersim.reactor.cost import CostModel
    from brokersim.routing.sink import Sink

# What an instance is made of is imported when something runs: experiments import this file, and help is made of them.

T = TypeVar("T")


def run(main: Callable[..., Awaitable[T]], *args: object, clock: str = "virtual") -> T:
    """``trio.run`` on a clock that ``open_instance`` can use: ``real``, ``real*N`` or ``virtual``.

    A ^C comes out as KeyboardInterrupt, from however many nurseries, like one that came anywhere else.
    """
    import trio

    from brokersim.reactor.clock import RealClock, VirtualClock

    kind = ClockKind.parse(clock)
    with _rare_collections(_YOUNG if kind.is_virtual else _YOUNG_REAL):
        try:
            return trio.run(main, *args, clock=VirtualClock() if kind.is_virtual else RealClock(kind.speed))
        except BaseExceptionGroup as group:
            if group.split(KeyboardInterrupt)[1] is None:
                raise KeyboardInterrupt from None
            raise


#: Young objects at which they are looked through for cycles. In real time clients wait meanwhile: 8 ms for 10,000, and
#: 76 for 100,000 when most of them stay, as those of 3,000 jobs that are submitted at once.
_YOUNG = 100_000
_YOUNG_REAL = 10_000


@contextmanager
def _rare_collections(young: int) -> Iterator[None]:
    """Young objects are looked through for cycles less often while an instance runs.

    Its messages are not tracked at all and its tables only grow: with Python's default of 700 a run of 10,000 jobs
    spends a quarter of its time in collections that find nothing (benchmarks/jobs.py).
    """
    before = gc.get_threshold()
    gc.set_threshold(young, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def make_sink(stats: str | Sink | None) -> Sink:
    """``None``: no statistics; ``mem:``: keep the packets; ``HOST:PORT``: send them; or a sink. Raises ValueError.

    Words may follow, such as ``127.0.0.1:8125,dialect=brubeck`` (docs/interop.md).
    """
    from brokersim.routing.sink import MemorySink, NullSink

    if not stats:
        return NullSink()
    if not isinstance(stats, str):
        return stats
    # Here, and not for an instance without statistics: a sixth of what it would import.
    from brokersim.statsd_server.option import MEMORY, parse_stats
    from brokersim.statsd_server.udp import UdpSink

    option = parse_stats(stats)
    if option.address == MEMORY:
        return MemorySink()
    if not option.address:
        raise ValueError(f"statistics {stats!r} name no address; give HOST:PORT,{stats}")
    return UdpSink(option.address, option.dialect)


def name_attributes(stats: str | Sink | None) -> dict[str, str]:
    """The broker attribute that says how modules name their statistics, if ``stats`` has a word on it."""
    if not isinstance(stats, str) or not stats:
        return {}
    from brokersim.host.statistics import PREFIX_ATTRIBUTE
    from brokersim.statsd_server.option import parse_stats

    prefix = parse_stats(stats).prefix
    return {} if prefix is None else {PREFIX_ATTRIBUTE: prefix}


@asynccontextmanager
async def open_instance(
    *,
    size: int = 1,
    fanout: int = 2,
    clock: str = "virtual",
    seed: int = 0,
    modules: Sequence[str] | None = None,
    module_path: Sequence[Path] = (),
    hook: str = "prepare",
    stats: str | Sink | None = None,
    latency: float = 50e-6,
    cost: CostModel | None = None,
    watchdog: float | None = None,
    resources: str = "1x4",
    jobs: str = "",
    state_dir: Path | None = None,
    attrs: Mapping[str, str] | None = None,
    conf: JsonView | None = None,
) -> AsyncIterator[Instance]:
    """An instance with its modules running; they are unloaded at the end.

    ``latency`` is that of one hop between ranks, in seconds. ``cost=CostModel()`` makes handling, emitting and
    spinning take modelled time under the virtual clock; ``watchdog`` ends a module whose handler holds the loop for
    that many real seconds (main thread only). ``jobs``: ``real`` or ``simulated`` are those that do not say
    themselves whether their command is run; without it they are simulated under the virtual clock. Raises ValueError
    for settings that cannot be, and RequestError if a module does not load.
    """
    from brokersim.instance import Instance
    from brokersim.net.module_process import ModuleProcesses
    from brokersim.services.composition import DEFAULT_MODULES, Settings
    from brokersim.statsd_server.udp import UdpSink

    settings = Settings(
        size=size,
        fanout=fanout,
        clock=ClockKind.parse(clock),
        seed=seed,
        modules=DEFAULT_MODULES if modules is None else tuple(modules),
        module_path=tuple(module_path),
        hook=hook,
        latency=latency,
        cost=cost,
        watchdog=watchdog,
        resources=Resources.parse(resources),
        jobs=jobs,
        state_dir=state_dir,
        attributes={**name_attributes(stats), **(attrs or {})},
        conf=dict(conf or {}),
    )
    sink = make_sink(stats)
    told = UdpSink.environment(sink.target, sink.dialect) if isinstance(sink, UdpSink) else {}
    async with Instance(settings, sink, ModuleProcesses(told)).running() as instance:
        yield instance
