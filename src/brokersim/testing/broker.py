"""Knows what a test does with an instance: ask, wait, compare counters, inject faults, and the verdict at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from brokersim.instance import Instance
from brokersim.kit.deltas import Deltas
from brokersim.kit.fault import Fault
from brokersim.kit.keys import parse_key
from brokersim.kit.laws import LawViolation, Relaxation, parse_relaxations
from brokersim.kit.ledger import Line, Party
from brokersim.kit.witness import Witness
from brokersim.net.module_process import ModuleProcesses
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.message import COUNTER_NAMES, NODEID_ANY, Message
from brokersim.protocol.topic import service_of
from brokersim.routing.trace import NO_MODULES
from brokersim.testing.callers import TRANSPORTS, Caller
from brokersim.testing.metrics import ExpectedMetrics, StatsSink
from brokersim.testing.options import TestOptions
from brokersim.testing.waits import PATIENCE, Waits

MSGCOUNT = 0x1000


class Broker:
    """One instance in the hands of a test. All awaits take the instance's time, none of them real time."""

    def __init__(
        self, witness: Witness, caller: Caller, sink: StatsSink, relaxed: dict[str, Relaxation]
    ) -> None:
        self.witness = witness
        self.instance: Instance = witness.instance
        self.ledger = witness.ledger
        self.sink = sink
        self.relaxed = relaxed
        #: Events that came for the prefixes subscribed to, oldest first.
        self.events: list[Message] = []
        #: Modules that comparisons were about, for the report of a failure.
        self.involved: dict[str, None] = {}
        self._caller = caller
        self._waits = Waits(witness)
        self._snapshots: Callable[[str], Any] | None = None

    # -- modules

    async def load(self, path: str | Path, *args: str, rank: int = 0, name: str | None = None) -> None:
        """Load a module by name or path and wait until it runs. Raises RequestError."""
        before = {module.name for module in self.instance.modules(rank)}
        await self.instance.load(str(path), *args, rank=rank, name=name)
        for module in self.instance.modules(rank):
            if module.name not in before:
                self.involved[module.name] = None

    async def unload(self, name: str, rank: int = 0) -> None:
        """Unload a module and wait until it is gone. Raises RequestError(ENOENT)."""
        await self.instance.remove(name, rank=rank)

    def module(self, name: str, rank: int = 0) -> Any:
        """The module's own object, for a look inside. Raises RequestError(ENOENT)."""
        return self.instance.module(rank, name).handle.body

    def debug(self, module: str, set: int = MSGCOUNT, rank: int = 0) -> None:
        """Set a module's debug mask, without a message; 0x1000 emits its counters."""
        self.instance.module(rank, module).handle.set_mask(set)

    # -- messages

    async def rpc(
        self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, timeout: float = PATIENCE
    ) -> Any:
        """The payload of the answer (dict, bytes or None). Raises RequestError, and Impatient after ``timeout`` s."""
        self.involved |= _asked(self.instance, topic, nodeid)
        with self._waits.within(timeout, f"no answer to {topic}"):
            return await self._caller.call(topic, payload, nodeid)

    async def stream(
        self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, timeout: float = PATIENCE
    ) -> list[Any]:
        """The payloads of a stream that ends well. Raises RequestError, and Impatient if it does not end."""
        self.involved |= _asked(self.instance, topic, nodeid)
        answers: list[Any] = []
        with self._waits.within(timeout, f"no end of the stream {topic}"):
            await self._caller.stream(topic, payload, nodeid, answers.append)
        return answers

    async def publish(self, topic: str, payload: object = None) -> None:
        """Publish an event."""
        await self._caller.publish(topic, payload)

    async def subscribe(self, prefix: str) -> None:
        """Have events with this prefix appended to ``events``."""
        await self._caller.subscribe(prefix)

    # -- time

    async def advance(self, seconds: float) -> None:
        """Let this much of the instance's time pass."""
        await self.instance.sleep(seconds)

    async def settle(self) -> None:
        """Wait until no message is under way."""
        await self.witness.settle()

    async def wait_counter(self, key: str, *, ge: int, timeout: float = PATIENCE) -> int:
        """Wait until ``kvs.0.request_rx`` (or ``kvs.0.request_rx:TOPIC``) has counted ``ge`` since the boot; its value.

        Raises Impatient that tells the value reached, at once if nothing can happen any more.
        """
        wanted = parse_key(key)

        def count() -> int:
            tally = self.ledger.tallies.get(wanted.party, {})
            return sum(
                number
                for (index, topic), number in tally.items()
                if index == wanted.index and wanted.topic in ("", topic)
            )

        await self.wait_until(lambda: count() >= ge, lambda: f"{key} is {count()}, waited for {ge}", timeout)
        return count()

    async def wait_event(self, prefix: str, timeout: float = PATIENCE) -> Message:
        """Wait for the next event with this prefix (subscribe first); it stays in ``events``."""
        seen = len(self.events)

        def found() -> Message | None:
            return next((event for event in self.events[seen:] if event.topic.startswith(prefix)), None)

        await self.wait_until(lambda: found() is not None, lambda: f"no event {prefix}*", timeout)
        event = found()
        assert event is not None
        return event

    async def wait_metric(self, name: str, *, ge: float, timeout: float = PATIENCE) -> float:
        """Wait until a metric's last value in the sink is ``ge`` or more; that value. Raises Impatient."""
        sink = self.sink

        def is_there() -> bool:
            value = sink.value(name)
            return value is not None and value >= ge

        await self.wait_until(is_there, lambda: f"{name} is {sink.value(name)}, waited for {ge:g}", timeout)
        value = sink.value(name)
        assert value is not None
        return value

    async def wait_job(self, job: int | str, state: str = "INACTIVE", timeout: float = PATIENCE) -> None:
        """Wait until a job (its number, or ``ƒ…``) has reached a state, asking job-list when job-manager has moved.

        Raises ValueError for a word that is no state, RequestError(ENOENT) for no job, and Impatient.
        """
        wanted = JOB_STATES.get(state)
        if wanted is None:
            raise ValueError(f"no state {state!r}; the states of a job are {', '.join(JOB_STATES)}")
        number = jobid.decode(job) if isinstance(job, str) else job
        deadline = self._waits.now() + timeout
        while True:
            answer = await self.rpc("job-list.list-id", {"id": number, "attrs": ["state"]})
            reached = int(answer["job"]["state"])
            if reached >= wanted:
                return
            await self._waits.for_move(
                "job-manager", f"job {job} is {_state_name(reached)}, waited for {state}", deadline
            )

    async def wait_until(
        self, condition: Callable[[], bool], otherwise: Callable[[], str], timeout: float = PATIENCE
    ) -> None:
        """Wait until a condition holds that messages bring about. Raises Impatient with ``otherwise()``."""
        await self._waits.until(condition, otherwise, timeout)

    # -- counters

    def counters(self, module: str, rank: int = 0) -> dict[str, int]:
        """A module's eight counters. Raises RequestError(ENOENT)."""
        counts = self.instance.broker(rank).module(module).counts
        return dict(zip(COUNTER_NAMES, counts, strict=True))

    @contextmanager
    def deltas(self, *modules: str) -> Iterator[Deltas]:
        """What the counters of these modules (``kvs``: on every rank; ``kvs.0``) move by while the block runs.

        None named means every module. Messages on links are not waited for: ``await settle()`` inside the block
        if there are several ranks.
        """
        found = Deltas(self.ledger, _parties(self.instance, modules))
        for module in modules:
            self.involved[module] = None
        yield found
        found.close()

    def snapshot(self, name: str = "counters") -> Any:
        """Counters kept in a file beside the test: ``assert d == broker.snapshot()``."""
        if self._snapshots is None:
            raise RuntimeError("snapshots need pytest: they are kept by test")
        return self._snapshots(name)

    def trace(self, *modules: str, topic: str = "*") -> list[Line]:
        """The messages of these modules (all) so far, oldest first."""
        return [line for line in self.ledger.lines(*modules) if fnmatchcase(line.topic, topic)]

    # -- metrics

    @contextmanager
    def expect_metrics(self, expected: JsonView | None = None) -> Iterator[ExpectedMetrics]:
        """Capture what is emitted to statsd in the block and, at its end, compare last values by metric name.

        Raises AssertionError. Values may be ranges; names may be globs.
        """
        found = ExpectedMetrics(self.sink, expected or {})
        yield found
        found.check()

    # -- faults, laws, the end

    def fault(self, kind: str, **wanted: object) -> Fault:
        """Begin a fault: drop, delay, duplicate, reorder, fail, disconnect, kill, fill-disk, fail-disk, lose-packets.

        It ends with ``with``, with ``stop()`` or with the test. One that hit nothing fails the test.
        """
        return self.witness.faults.add(kind, **wanted)

    def relax(self, law: str, reason: str, allow: int | None = None) -> None:
        """This law need not hold in this test (or may be broken ``allow`` times), for a reason that is not empty."""
        self.relaxed |= parse_relaxations({law: {"reason": reason, "allow": allow}})

    async def verify(self) -> None:
        """What the end of a test does: settle, then raise LawViolation, or AssertionError for idle faults."""
        __tracebackhide__ = True
        self.witness.faults.release()
        await self.settle()
        idle = self.witness.idle_faults()
        broken = self.witness.violations(relaxed=self.relaxed)
        self.witness.faults.stop()
        if broken:
            raise LawViolation(broken)
        if idle:
            raise AssertionError(idle)

    def report(self) -> str:
        """For a failed test: seed, the last messages of the modules involved, what is open, the broker's log."""
        lines = self.ledger.lines(*self.involved)[-50:]
        unanswered = [str(asked) for asked in self.ledger.conversations.unanswered()]
        log = list(self.instance.broker(0).log.lines())[-20:]
        faults = [fault.report() for fault in self.witness.faults.all]
        parts = {
            f"seed {self.instance.seed}, hook {self.instance.hook}, clock {self.instance.settings.clock}": [],
            f"last {len(lines)} messages of {', '.join(self.involved) or 'everybody'}": list(map(str, lines)),
            "unanswered requests": unanswered,
            "faults": faults,
            "dmesg": log,
        }
        shown = [
            f"{title}:\n" + "\n".join(f"  {line}" for line in body) if body else title
            for title, body in parts.items()
            if body or title.startswith("seed")
        ]
        return "\n".join(shown)


def _asked(instance: Instance, topic: str, nodeid: int) -> dict[str, None]:
    """The module that is asked: it has a part in what comes of it, for the report of a failure."""
    rank = nodeid if nodeid < instance.size else 0
    served = instance.broker(rank).service(service_of(topic))
    return {} if served is None or served.name in NO_MODULES else {served.name: None}


def _parties(instance: Instance, names: Sequence[str]) -> tuple[Party, ...]:
    loaded = [(rank, module.name) for rank in range(instance.size) for module in instance.modules(rank)]
    if not names:
        return tuple(loaded)
    found: dict[Party, None] = {}
    for name in names:
        matching = [party for party in loaded if name in (party[1], f"{party[1]}.{party[0]}")]
        if not matching:
            known = ", ".join(f"{party[1]}.{party[0]}" for party in loaded)
            raise ValueError(f"no module {name!r} to watch; loaded are {known}")
        found |= dict.fromkeys(matching)
    return tuple(found)


def _state_name(number: int) -> str:
    return next((name for name, value in JOB_STATES.items() if value == number), str(number))


#: A job's states in order, by the numbers job-list uses (RFC 21).
JOB_STATES = {"NEW": 1, "DEPEND": 2, "PRIORITY": 4, "SCHED": 8, "RUN": 16, "CLEANUP": 32, "INACTIVE": 64}


@asynccontextmanager
async def opened(options: TestOptions, sink: StatsSink | None = None) -> AsyncIterator[Broker]:
    """A running instance for a test; ``verify`` it before leaving. Needs trio on the clock of the options."""
    packets = StatsSink() if sink is None else sink
    instance = Instance(options.settings(), packets, ModuleProcesses())
    witness = Witness(instance)
    events: list[Message] = []

    def heard(event: Message) -> None:
        events.append(event)
        witness.ledger.moved()

    async with instance.running(), TRANSPORTS[options.transport](instance, heard) as caller:
        broker = Broker(witness, caller, packets, dict(options.laws))
        broker.events = events
        packets.listeners.append(witness.ledger.moved)
        packets.waiter = broker.wait_metric
        for name, mask in options.mask.items():
            _set_mask(instance, name, mask)
        await witness.settle()  # the other ranks may still be on their way up
        try:
            yield broker
        finally:
            packets.listeners.remove(witness.ledger.moved)


def _set_mask(instance: Instance, name: str, mask: int) -> None:
    found = [
        module for rank in range(instance.size) for module in instance.modules(rank) if module.name == name
    ]
    if not found:
        raise ValueError(f"mask: no module {name!r} is loaded")
    for module in found:
        module.handle.set_mask(mask)
