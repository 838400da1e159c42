"""Knows how a test that is no coroutine uses a Broker: trio runs in a thread and stands still between calls."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import outcome
import trio
import trio.testing

from brokersim.kit.fault import Fault
from brokersim.protocol.decoded import JsonObject
from brokersim.reactor.clock import RealClock, VirtualClock
from brokersim.testing.broker import Broker, opened
from brokersim.testing.metrics import StatsSink
from brokersim.testing.options import TestOptions


class SyncBroker:
    """A `Broker` whose coroutines are plain calls: ``broker.rpc(...)``, ``broker.advance(1)``.

    Under the virtual clock nothing moves between two calls, so counters can be read at leisure.
    """

    def __init__(self, broker: Broker, token: trio.lowlevel.TrioToken) -> None:
        self.broker = broker
        self._token = token
        self._hold: AbstractContextManager[None] | None = None
        self._still()

    def __getattr__(self, name: str) -> Any:  # tests of users call it, and are checked
        found = getattr(self.broker, name)
        if inspect.iscoroutinefunction(found):
            return partial(self._call, found)
        # What acts on the instance does so in its thread: SQLite and trio insist on theirs.
        return partial(self._do, found) if name in _ACTS else found

    def _do(self, fn: Callable[..., object], *args: object, **named: object) -> object:
        found = trio.from_thread.run_sync(partial(fn, *args, **named), trio_token=self._token)
        return SyncFault(found, self._do) if isinstance(found, Fault) else found

    def __setattr__(self, name: str, value: object) -> None:
        # What a test sets (``_snapshots`` by the plugin) belongs to the broker.
        own = name in ("broker", "_token", "_hold")
        object.__setattr__(self if own else self.broker, name, value)

    def _call(self, fn: Callable[..., object], *args: object, **named: object) -> object:
        return trio.from_thread.run(partial(self._inside, fn, args, named), trio_token=self._token)

    async def _inside(self, fn: Callable[..., Any], args: tuple[Any, ...], named: JsonObject) -> Any:
        self._go_on()
        try:
            return await fn(*args, **named)
        finally:
            self._still()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()

    def _still(self) -> None:
        runner = self.broker.instance.runner
        if runner.is_virtual:
            self._hold = runner.hold()
            self._hold.__enter__()

    def _go_on(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.__exit__(None, None, None)

    async def _end(self) -> None:
        self._go_on()


#: Methods of a `Broker` that are no coroutines and change something.
_ACTS = ("debug", "fault")


class SyncFault:
    """A `Fault` in a test that is no coroutine: it is ended where it was begun, in the instance's thread."""

    def __init__(self, fault: Fault, do: Callable[..., Any]) -> None:
        self.fault = fault
        self._do = do

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fault, name)

    def stop(self) -> None:
        """As `Fault.stop`."""
        self._do(self.fault.stop)

    def __enter__(self) -> SyncFault:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def opened_sync(
    options: TestOptions, sink: StatsSink | None = None, clock: VirtualClock | None = None
) -> Iterator[SyncBroker]:
    """`opened` for a test that is no coroutine."""
    thread = _Thread(options, sink, clock)
    thread.start()
    broker = thread.ready()
    try:
        yield broker
    finally:
        thread.end()


class _Thread:
    """A thread with trio and the instance in it."""

    def __init__(self, options: TestOptions, sink: StatsSink | None, clock: VirtualClock | None) -> None:
        self._options = options
        self._sink = sink
        self._clock = clock_for(options, clock)
        self._opened = threading.Event()
        self._broker: SyncBroker | None = None
        self._leave: trio.Event | None = None
        self._result: outcome.Outcome[None] | None = None
        self._thread = threading.Thread(target=self._run, name="brokersim", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> SyncBroker:
        """The broker, once it runs; raises what kept it from that."""
        self._opened.wait()
        if self._broker is None:
            self._thread.join()
            assert self._result is not None
            self._result.unwrap()
        assert self._broker is not None
        return self._broker

    def end(self) -> None:
        """Close the instance; raises what went wrong in it."""
        broker, leave = self._broker, self._leave
        assert broker is not None and leave is not None
        if self._thread.is_alive():
            broker._token.run_sync_soon(self._let_go)
        self._thread.join()
        assert self._result is not None
        self._result.unwrap()

    def _let_go(self) -> None:
        assert self._broker is not None and self._leave is not None
        self._broker._go_on()
        self._leave.set()

    def _run(self) -> None:
        self._result = outcome.capture(partial(trio.run, self._main, clock=self._clock))
        self._opened.set()

    async def _main(self) -> None:
        self._leave = trio.Event()
        async with opened(self._options, self._sink) as broker:
            self._broker = SyncBroker(broker, trio.lowlevel.current_trio_token())
            self._opened.set()
            await self._leave.wait()


def clock_for(options: TestOptions, clock: VirtualClock | None = None) -> VirtualClock | RealClock:
    """The trio clock an instance of these options needs; a virtual one may be given."""
    if options.clock.is_virtual:
        return clock or VirtualClock()
    return RealClock(options.clock.speed)
