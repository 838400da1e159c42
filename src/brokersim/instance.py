"""Knows a whole instance: its ranks, clock, seed, modules and tasks; how it starts and ends. No sockets."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import trio

from brokersim.host import outside
from brokersim.host.background import Background
from brokersim.host.blocking import Workers
from brokersim.host.course import Loaded
from brokersim.host.handle import Handle
from brokersim.host.loader import Loader
from brokersim.host.ports import Watching
from brokersim.host.waits import Occurrence
from brokersim.instance_life import living
from brokersim.protocol.duration import parse_duration
from brokersim.reactor.clock import running_clock
from brokersim.reactor.cost import CostModel, Node
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.run import Runner
from brokersim.routing import logring
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.identities import Identities
from brokersim.routing.link import Port
from brokersim.routing.sink import MemorySink, NullSink, Sink
from brokersim.services.broker import Broker, Whole
from brokersim.services.composition import VIRTUAL_EPOCH, Settings
from brokersim.services.loaded import Launcher, LoadedModules
from brokersim.services.table import built_in, speaker

#: Stands for an infinite duration where a timer needs a number: a century, in seconds.
_FOREVER = 100 * 365.25 * 86400


class Instance(Whole):
    """One instance: brokers on ranks 0..size-1 in one process, driven by one reactor."""

    def __init__(
        self, settings: Settings, sink: Sink | None = None, launcher: Launcher | None = None
    ) -> None:
        self.settings = settings
        self.size = settings.size
        self.fanout = settings.fanout
        self.seed = settings.seed
        self.hook = settings.hook
        self.resources = settings.resources
        self.conf = settings.conf
        self.owner = os.getuid()
        self.sink = sink or NullSink()
        self.reactor = Reactor()
        self.runner = Runner(self.reactor, running_clock(settings.clock))
        # trio's clock may have run for a while before there was an instance.
        self.epoch = (
            VIRTUAL_EPOCH if settings.clock.is_virtual else time.time() - self.runner.clock.now_ns() / NS
        )
        loader = Loader(settings.module_path, settings.last_module_path)
        self.loaded = LoadedModules(self, self.size, loader, launcher, is_virtual=settings.clock.is_virtual)
        self.background = Background(self.runner.post)
        #: Stacks for callbacks that may wait for answers.
        self.workers = Workers()
        self.kept: dict[tuple[int, str], Any] = {}
        self.stopped = trio.Event()
        if isinstance(self.sink, MemorySink):
            self.sink.now = lambda: self.reactor.now / NS
        self.identities = Identities(self.seed, self.size)
        self._nodes: dict[int, Node] = {}
        #: Why it ended, if that was nobody's wish.
        self.failure: str | None = None
        self._brokers: list[Broker] = []
        #: Broker attributes that all ranks have.
        self.common_attributes = settings.attributes_of_all(
            userid=self.owner, pid=os.getpid(), epoch=self.epoch, uuid=self.identities.uuid(0, "instance")
        )
        for rank in range(self.size):
            self._brokers.append(Broker(self, rank, speaker, built_in))
        for broker in self._brokers:
            broker.connect(self._brokers, round(settings.latency * NS))
        self.reactor.charged = settings.cost is not None and settings.clock.is_virtual
        if self.reactor.charged and settings.cost is not None:
            _charge_links(self._brokers, settings.cost)

    def own_attributes(self, rank: int) -> dict[str, str]:
        """Attributes by which a rank differs from the others."""
        return self.settings.attributes_of_one(rank)

    def renew(self, ranks: Iterable[int]) -> None:
        """Put new brokers in the place of these, as after a restart: of the old ones nothing is left but links."""
        for rank in ranks:
            old = self._brokers[rank]
            broker = self._brokers[rank] = Broker(self, rank, speaker, built_in)
            broker.replace(old)
            above = () if broker.above is None else (broker.above,)
            for neighbour in map(self.broker, (*above, *broker.below)):
                broker.meet(neighbour)
                neighbour.meet(broker)
            for key in [key for key in self.kept if key[0] == rank]:
                del self.kept[key]

    # -- values

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
            yield from broker.endpoints

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

    def turns(self) -> int:
        """Turns of their loops that the same parties took."""
        return sum(broker.turns() for broker in self._brokers)

    # -- modules

    def modules(self, rank: int) -> list[Loaded]:
        """The modules loaded on a rank, in the order they were."""
        return self.loaded.on(rank)

    def module(self, rank: int, name: str) -> Loaded:
        """By name, or by the path of its file. Raises RequestError(ENOENT) that names those there are."""
        return self.loaded.find(rank, name)

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
        load = partial(self.loaded.load_process, loader) if as_process else self.loaded.load
        await Occurrence(self.broker(0).endpoint, partial(load, rank, path, args, name))

    async def remove(self, name: str, rank: int = 0) -> None:
        """Unload a module and wait until it is gone. Raises RequestError(ENOENT)."""
        module = self.module(rank, name)
        await Occurrence(self.broker(0).endpoint, module.stop)

    # -- tasks, statistics, faults

    def client(self, rank: int = 0, name: str = "client") -> Handle:
        """A handle for a program or test on a rank; ``close()`` it when done."""
        return self.broker(rank).client(name)

    async def sleep(self, seconds: float) -> None:
        """Let the instance's clock pass ``seconds``."""
        await self.broker(0).endpoint.sleep(seconds)

    def start_task(
        self, fn: Callable[[], Awaitable[None]], failed: Callable[[BaseException], object]
    ) -> Callable[[], object]:
        """Run a trio task under a scope of its own; returns what cancels it."""
        return self.background.start_for(fn, failed)

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

    def fail(self, why: str) -> None:
        """Ask for the end, which is nobody's wish."""
        self.failure = why
        self.stop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Instance]:
        """The instance with its modules loaded; at the end they are unloaded."""
        async with living(self, self.settings):
            yield self

    def log_error(self, text: str) -> None:
        """A line in rank 0's log."""
        self.broker(0).write_log(logring.ERR, "broker", text)


def _charge_links(brokers: Sequence[Broker], cost: CostModel) -> None:
    ports = [Port(round(cost.frame_s * NS), cost.byte_s * NS) for _ in brokers]
    for broker in brokers:
        for link in broker.links:
            link.port = ports[link.peer.rank]
