"""Knows a whole instance: its ranks, clock, seed, modules and tasks; how it starts and ends. No sockets."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from brokersim import version
from brokersim.host import outside
from brokersim.host.blocking import Workers
from brokersim.host.course import FINALIZING, Done, Loaded
from brokersim.host.deferral import Deferral
from brokersim.host.handle import Handle
from brokersim.host.life import Module
from brokersim.host.loader import FLUX_NAMES, Loader, NeedsFlux, default_name
from brokersim.host.ports import Watching
from brokersim.host.remote import FLUX, RemoteModule, loader_name
from brokersim.host.remote_handle import Wire
from brokersim.host.waits import Occurrence
from brokersim.protocol import topology
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, ENOTSUP, RequestError
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind, check_hook, check_jobs, jobs_of
from brokersim.reactor.clock import RealClock, VirtualClock
from brokersim.reactor.cost import CostModel, Node
from brokersim.reactor.interrupts import is_failure
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.run import Runner
from brokersim.reactor.watchdog import watchdog
from brokersim.routing import logring
from brokersim.routing.attributes import DEFAULTS, check_start
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.link import DEFAULT_LATENCY, Port
from brokersim.routing.sink import MemorySink, NullSink, Sink
from brokersim.services.broker import Broker, Whole
from brokersim.services.table import speaker

#: What an instance loads unless told otherwise, in this order; the end takes them down in reverse.
DEFAULT_MODULES = (
    "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "resource", "job-manager", "job-info",
    "sched", "job-exec",
)  # fmt: skip
#: These serve the whole instance from rank 0, as upstream's start-up script has it.
RANK0_MODULES = frozenset(
    {"heartbeat", "content-sqlite", "cron", "resource", "job-manager", "job-info", "sched", "job-exec"}
)
#: Arguments of modules loaded at the start, as upstream's start-up script gives them.
START_ARGS: dict[str, tuple[str, ...]] = {"cron": ("sync=heartbeat.pulse",)}
#: Where virtual wall-clock time starts: 2026-01-01T00:00:00Z.
VIRTUAL_EPOCH = 1_767_225_600.0
_REAL_TIME_ONLY = (
    "a module in a process of its own lives by the real clock, which virtual time cannot hold: "
    "start the instance with --clock real, or load the module without --exec"
)
#: Stands for an infinite duration where a timer needs a number: a century, in seconds.
_FOREVER = 100 * 365.25 * 86400


def _attribute_dict(value: Mapping[str, str] | None) -> dict[str, str]:
    return dict(value or {})


@attrs.frozen(kw_only=True)
class Settings:
    """What an instance is made of. Durations in seconds; ``cost`` only acts under the virtual clock."""

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    fanout: int = attrs.field(default=2, validator=attrs.validators.ge(0))
    clock: ClockKind = attrs.field(factory=lambda: ClockKind(1.0))
    seed: int = 0
    modules: tuple[str, ...] = DEFAULT_MODULES
    #: Searched before the shipped modules, and behind them.
    module_path: tuple[Path, ...] = ()
    last_module_path: tuple[Path, ...] = ()
    hook: str = attrs.field(default="prepare", converter=check_hook)
    latency: float = attrs.field(default=DEFAULT_LATENCY, validator=attrs.validators.ge(0))
    cost: CostModel | None = None
    #: Seconds a handler may hold the loop before its module is ended; ``None``: not watched.
    watchdog: float | None = None
    resources: Resources = attrs.field(factory=Resources)
    #: ``simulated`` or ``real``: what a job does that does not say so itself; ``""``: what the clock suggests.
    jobs: str = attrs.field(default="", converter=check_jobs)
    state_dir: Path | None = None
    attributes: dict[str, str] = attrs.field(factory=dict, converter=_attribute_dict)
    conf: dict[str, Any] = attrs.field(factory=dict)


class Launcher(Protocol):
    """Starts processes for modules."""

    def has_flux(self) -> bool:
        """There is a ``flux`` whose loader can be used."""

    def command(self, loader: str, path: Path) -> tuple[str, ...]:
        """What runs a module file; ``loader`` is ours or ``flux``. Raises RequestError if it cannot."""

    def start(self, broker: Broker, command: Sequence[str], module: RemoteModule) -> Wire:
        """Start it, and tell the module what it says and what becomes of it."""


class Instance(Whole):
    """One instance: brokers on ranks 0..size-1 in one process, driven by one reactor."""

    def __init__(
        self, settings: Settings, sink: Sink | None = None, launcher: Launcher | None = None
    ) -> None:
        self.settings = settings
        #: Starts modules as processes of their own, where that is possible.
        self.launcher = launcher
        self.size = settings.size
        self.fanout = settings.fanout
        self.seed = settings.seed
        self.hook = settings.hook
        self.resources = settings.resources
        self.conf = settings.conf
        self.owner = os.getuid()
        self.sink = sink or NullSink()
        self.reactor = Reactor()
        self.runner = Runner(self.reactor, _clock(settings.clock))
        # trio's clock may have run for a while before there was an instance.
        self.epoch = (
            VIRTUAL_EPOCH if settings.clock.is_virtual else time.time() - self.runner.clock.now_ns() / NS
        )
        self.loader = Loader(settings.module_path, settings.last_module_path)
        #: Stacks for callbacks that may wait for answers.
        self.workers = Workers()
        self.kept: dict[tuple[int, str], Any] = {}
        self.stopped = trio.Event()
        if isinstance(self.sink, MemorySink):
            self.sink.now = lambda: self.reactor.now / NS
        self._serials: dict[tuple[int, str], int] = {}
        self._nodes: dict[int, Node] = {}
        self._tasks: trio.Nursery | None = None
        self._forget = self._forget_module  # one for all: each look-up of a method makes an object
        self._modules: list[dict[str, Loaded]] = [{} for _ in range(self.size)]
        self._deferrals: dict[Handle, Deferral] = {}
        #: Why it ended, if that was nobody's wish.
        self.failure: str | None = None
        self._brokers: list[Broker] = []
        #: Broker attributes that all ranks have.
        self.common_attributes = self._common_attributes()
        for rank in range(self.size):
            self._brokers.append(Broker(self, rank, speaker))
        for broker in self._brokers:
            broker.connect(self._brokers, round(settings.latency * NS))
            self._set_attributes(broker)
        self.reactor.charged = settings.cost is not None and settings.clock.is_virtual
        if self.reactor.charged and settings.cost is not None:
            self._charge_links(settings.cost)

    def renew(self, ranks: Iterable[int]) -> None:
        """Put new brokers in the place of these, as after a restart: of the old ones nothing is left but links."""
        for rank in ranks:
            old = self._brokers[rank]
            broker = self._brokers[rank] = Broker(self, rank, speaker)
            broker.replace(old)
            self._set_attributes(broker)
            above = () if broker.above is None else (broker.above,)
            for neighbour in map(self.broker, (*above, *broker.below)):
                broker.meet(neighbour)
                neighbour.meet(broker)
            for key in [key for key in self.kept if key[0] == rank]:
                del self.kept[key]

    def _charge_links(self, cost: CostModel) -> None:
        ports = [Port(round(cost.frame_s * NS), cost.byte_s * NS) for _ in self._brokers]
        for broker in self._brokers:
            for link in broker.peers.values():
                link.port = ports[link.peer.rank]

    # -- values

    def uuid(self, rank: int, name: str) -> str:
        """An identity that depends on the seed, the rank, the name and how often that name was used there."""
        serial = self._serials[rank, name] = self._serials.get((rank, name), 0) + 1
        digest = hashlib.sha256(f"{self.seed}/{rank}/{name}/{serial}".encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"

    def wall_time(self) -> float:
        """Wall-clock time in seconds since the epoch, by the instance's clock, at this very moment.

        In real time that is later than the reactor's ``now``, which stands still while a batch is worked off: what is
        traced or logged is told with the time at which it happened.
        """
        now = self.reactor.now if self.runner.is_virtual else self.runner.clock.now_ns()
        return self.epoch + now / NS

    def seconds(self, attribute: str, default: float) -> float:
        """A duration kept in an attribute of rank 0; an unreadable one is the default."""
        text = self._brokers[0].attributes.get(attribute)
        try:
            return default if text is None else min(parse_duration(text), _FOREVER)
        except ValueError:
            return default

    def broker(self, rank: int) -> Broker:
        return self._brokers[rank]

    def all_endpoints(self) -> Iterator[Endpoint]:
        """Every party on every rank."""
        for broker in self._brokers:
            yield from broker.endpoints.values()

    def node(self, rank: int) -> Node | None:
        """The cores of a rank, if virtual time charges for them."""
        if not self.reactor.charged or self.settings.cost is None:
            return None
        node = self._nodes.get(rank)
        if node is None:
            node = self._nodes[rank] = Node(self.reactor, self.settings.cost)
        return node

    def messages(self) -> int:
        """Messages received by all parties since the start."""
        return sum(broker.messages() for broker in self._brokers)

    def status(self, broker: Broker) -> dict[str, Any]:
        """What ``brokersim status`` shows."""
        sink = self.sink
        masks = {
            module.name: module.handle.mask for module in self.modules(broker.rank) if module.handle.mask
        }
        return {
            "size": self.size,
            "online": self.size,
            "uptime": self.reactor.now / NS,
            "modules": len(self._modules[broker.rank]),
            "messages": self.messages(),
            "clock": str(self.settings.clock),
            "seed": self.seed,
            "stats": {"target": sink.target, "sent": sink.sent, "refused": sink.refused},
            "masks": masks,
        }

    def _common_attributes(self) -> dict[str, str]:
        """Attributes of all ranks. Raises RequestError(EINVAL) for one that an instance cannot be started with."""
        for name, value in self.settings.attributes.items():
            check_start(name, value)
        common = {
            **DEFAULTS,
            "size": self.size,
            "hostlist": f"sim[0-{self.size - 1}]" if self.size > 1 else "sim0",
            "security.owner": self.owner,
            "version": version.VERSION,
            "broker.mapping": f"[[0,1,{self.size},1]]",
            "broker.pid": os.getpid(),
            "broker.quorum": self.size,
            "broker.starttime": f"{self.epoch:.6f}",
            "broker.uuid": self.uuid(0, "instance"),
            "tbon.topo": f"kary:{self.fanout}",
            "tbon.maxlevel": topology.depth(self.size - 1, self.fanout),
            "clock": self.settings.clock,
            "seed": self.seed,
            "jobs": jobs_of(self.settings.jobs, self.settings.clock),
            "hook": self.hook,
            "resources": self.settings.resources,
            **self.settings.attributes,
        }
        if self.settings.state_dir is not None:
            common |= {"statedir": self.settings.state_dir, "statedir-cleanup": 0}
        return {name: str(value) for name, value in sorted(common.items())}

    def _set_attributes(self, broker: Broker) -> None:
        rank = broker.rank
        fixed = {
            "rank": rank,
            "hostname": f"sim{rank}",
            "tbon.level": topology.depth(rank, self.fanout),
            "tbon.descendants": topology.subtree_size(rank, self.fanout, self.size) - 1,
        }
        if broker.parent is not None:
            fixed["tbon.parent"] = broker.parent.peer.rank
        for name, value in fixed.items():
            broker.attributes.fix(name, str(value))

    # -- modules

    def modules(self, rank: int) -> list[Loaded]:
        """The modules loaded on a rank, in the order they were."""
        return list(self._modules[rank].values())

    def module(self, rank: int, name: str) -> Loaded:
        """By name, or by the path of its file as Flux's command does. Raises RequestError(ENOENT) that names all."""
        module = self._modules[rank].get(FLUX_NAMES.get(name, name)) or self._modules[rank].get(name)
        if module is None and "/" in name:
            path = Path(os.path.realpath(name))
            module = next((one for one in self.modules(rank) if one.path == path), None)
        if module is None:
            known = ", ".join(self._modules[rank]) or "none"
            raise RequestError(ENOENT, f"no module {name!r} on rank {rank}; loaded: {known}")
        return module

    def load_module(self, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done) -> None:
        """Load a file; ``done(error)`` is called when it runs or has failed. Raises RequestError at once if it can.

        A shared object, or a file that needs Flux's C binding, is run by Flux's own loader if there is one.
        """
        file = self.loader.find(path)
        name = self._free_name(rank, name or default_name(file))
        try:
            code = self.loader.load(file)
        except NeedsFlux:
            if self.launcher is None or not self.launcher.has_flux() or self.settings.clock.is_virtual:
                raise
            self.load_process(FLUX, rank, path, args, name, done)
            return
        self._modules[rank][name] = Module(self.broker(rank), name, code, args, done, self._forget)

    def load_process(
        self, loader: str | None, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done
    ) -> None:
        """Like ``load_module``, in a process of its own, by our loader or by ``flux``."""
        if self.settings.clock.is_virtual:
            raise RequestError(ENOTSUP, _REAL_TIME_ONLY)
        if self.launcher is None:
            raise RequestError(ENOTSUP, "this instance cannot start modules as processes of their own")
        file = self.loader.find(path)
        name = self._free_name(rank, name or default_name(file))
        loader = loader_name(loader)
        command = self.launcher.command(loader, file)
        self._modules[rank][name] = RemoteModule(
            self.broker(rank), name, file, args, done, self._forget,
            start=partial(self.launcher.start, self.broker(rank), command), loader=loader,
        )  # fmt: skip

    def _free_name(self, rank: int, name: str) -> str:
        if name in self._modules[rank]:
            raise RequestError(
                EEXIST, f"module {name!r} is already loaded on rank {rank}; give it another name"
            )
        if not name or "." in name or "/" in name:
            raise RequestError(EINVAL, f"module name {name!r} is empty or contains a dot or slash")
        return name

    def _forget_module(self, module: Loaded) -> None:
        """A module has ended. One in Flux's hands that failed as it ran ends the instance, unless told not to."""
        self._end_deferral(module.handle)
        rank = module.handle.broker.rank
        nopanic = self.broker(rank).attributes.get("broker.module-nopanic")
        is_flux = isinstance(module, RemoteModule) and module.has_failed and module.loader == FLUX
        if is_flux and nopanic in (None, "0"):
            self.failure = f"module runtime failure: {module.name} on rank {rank}; its log says why"
            self.stop()
        if self._modules[rank].get(module.name) is module:
            del self._modules[rank][module.name]

    def defer(self, rank: int, name: str, is_wanted: bool) -> None:
        """Keep requests from a module until told otherwise (flux-core's module.debug). Raises RequestError(ENOENT)."""
        handle = self.module(rank, name).handle
        if not is_wanted:
            self._end_deferral(handle)
        elif handle not in self._deferrals:
            self._deferrals[handle] = Deferral(self.broker(rank), handle)

    def _end_deferral(self, handle: Handle) -> None:
        deferral = self._deferrals.pop(handle, None)
        if deferral is not None:
            deferral.end()

    async def load(
        self,
        path: str,
        *args: str,
        rank: int = 0,
        name: str | None = None,
        as_process: bool = False,
        loader: str | None = None,
    ) -> None:
        """Load a module and wait until it runs; as a process of its own if wanted. Raises RequestError."""
        load = partial(self.load_process, loader) if as_process else self.load_module
        await self._in_reactor(partial(load, rank, path, args, name))

    async def remove(self, name: str, rank: int = 0) -> None:
        """Unload a module and wait until it is gone. Raises RequestError(ENOENT)."""
        module = self.module(rank, name)
        await self._in_reactor(module.stop)

    def _in_reactor(self, start: Callable[[Done], object]) -> Awaitable[Any]:
        return Occurrence(self.broker(0).endpoint, start)

    # -- tasks, statistics, faults

    def client(self, rank: int = 0, name: str = "client") -> Handle:
        """A handle for a program or test on a rank; ``close()`` it when done."""
        broker = self.broker(rank)
        handle = Handle(broker, name, self.uuid(rank, name))
        broker.add_endpoint(handle)
        return handle

    async def sleep(self, seconds: float) -> None:
        """Let the instance's clock pass ``seconds``."""
        await self.broker(0).endpoint.sleep(seconds)

    def start_task(
        self, fn: Callable[[], Awaitable[None]], failed: Callable[[BaseException], object]
    ) -> Callable[[], object]:
        """Run a trio task under a scope of its own; returns what cancels it."""
        scope = trio.CancelScope()
        self.start_background(partial(self._run_task, scope, fn, failed))
        return scope.cancel

    async def _run_task(
        self,
        scope: trio.CancelScope,
        fn: Callable[[], Awaitable[None]],
        failed: Callable[[BaseException], object],
    ) -> None:
        try:
            with scope:
                await fn()
        except BaseException as error:
            if not is_failure(error):
                raise
            self.runner.post(partial(failed, error))

    def start_background(self, fn: Callable[[], Awaitable[None]]) -> None:
        """Run a trio task that ends by itself, or is cancelled with the instance. It must not raise."""
        if self._tasks is None:
            raise RequestError(EINVAL, "the instance is not running: no task can be started")
        self._tasks.start_soon(fn)

    def hold_clock(self) -> AbstractContextManager[None]:
        """Virtual time stands still inside."""
        return self.runner.hold()

    def watch_fd(
        self, who: Watching, fd: int, events: int, call: Callable[[int], object]
    ) -> Callable[[], object]:
        """Call ``call(revents)`` as a turn of its loop while ``fd`` is ready; returns what stops that."""
        return outside.watch_fd(who, fd, events, call)

    def watch_signal(self, who: Watching, number: int, call: Callable[[], object]) -> Callable[[], object]:
        """Call back as a turn of its loop when the process gets a signal; returns what stops that."""
        return outside.watch_signal(who, number, call)

    def fault(self, error: BaseException) -> None:
        """A callback of no module raised: a bug of the program, which is told."""
        raise error

    # -- life

    def stop(self) -> None:
        """Ask for the end of the instance; whoever runs it waits for ``stopped``."""
        self.stopped.set()

    async def boot(self) -> None:
        """Load the modules, rank 0 first. Raises RequestError that names the module."""
        for rank in range(self.size):
            await self.boot_rank(rank)

    async def boot_rank(self, rank: int) -> None:
        """Load the modules of one rank. Raises RequestError that names the module."""
        for name in self.settings.modules:
            if rank == 0 or name not in RANK0_MODULES:
                try:
                    await self.load(name, *START_ARGS.get(name, ()), rank=rank)
                except RequestError as error:
                    raise RequestError(
                        error.errno or EINVAL, f"module {name!r} on rank {rank}: {error.text}"
                    ) from error

    async def shutdown(self) -> None:
        """Unload everything, last loaded first, the root last."""
        if not self.runner.is_running:
            return  # ended by a fault, which is being told
        for rank in reversed(range(self.size)):
            for module in reversed(self.modules(rank)):
                if module.status <= FINALIZING:
                    await self._in_reactor(module.stop)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Instance]:
        """The instance with its modules loaded; at the end they are unloaded."""
        failure: BaseException | None = None
        limit = self.settings.watchdog
        with watchdog(self.reactor, limit) if limit else nullcontext():
            async with trio.open_nursery() as nursery:
                await nursery.start(self.runner.run)
                try:
                    async with trio.open_nursery() as tasks:
                        self._tasks = tasks
                        try:
                            await self.boot()
                            yield self
                        except trio.Cancelled:
                            with trio.CancelScope(shield=True):
                                await self.shutdown()
                            raise
                        except BaseException as error:
                            failure = error  # raised outside the nurseries, which would wrap it in a group
                        with trio.CancelScope(shield=True):
                            await self.shutdown()
                        self._tasks = None
                        tasks.cancel_scope.cancel()
                finally:
                    self.runner.stop()
                    self.sink.close()
        if failure is not None:
            raise failure

    def log_error(self, text: str) -> None:
        """A line in rank 0's log."""
        self.broker(0).write_log(logring.ERR, "broker", text)


def _clock(kind: ClockKind) -> RealClock | VirtualClock:
    """The clock trio runs on, if it is of the kind wanted. Raises RuntimeError that says how to get one."""
    running = trio.lowlevel.current_clock()
    if kind.is_virtual:
        if isinstance(running, VirtualClock):
            if running.quiescent != running.jump:
                raise RuntimeError(
                    "a virtual instance runs here already, and a clock that jumps has one driver"
                )
            return running
        raise RuntimeError(
            "a virtual instance needs trio to run on a VirtualClock: use brokersim.run(main, clock='virtual')"
        )
    if isinstance(running, VirtualClock):
        raise RuntimeError(f"trio runs on a VirtualClock here; an instance with clock {kind} cannot")
    if isinstance(running, RealClock) and running.speed == kind.speed:
        return running
    return RealClock(kind.speed)
