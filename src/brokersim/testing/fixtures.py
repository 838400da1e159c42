"""Knows how one test's instances are opened, remembered for the verdict, and closed. Not pytest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

import attrs
import trio

from brokersim.reactor.clock import VirtualClock
from brokersim.testing.broker import Broker, opened
from brokersim.testing.metrics import StatsSink
from brokersim.testing.options import TestOptions
from brokersim.testing.sync import SyncBroker, opened_sync


@attrs.define(eq=False, kw_only=True)
class TestInstances:
    """The instances of one test: how each is made, and those that are open now."""

    __test__ = False

    #: Settings of the command line, the marker and, before both, these. Raises a usage error.
    options: Callable[..., TestOptions]
    sink: StatsSink
    snapshots: Callable[[str], Any]
    opened: list[Any] = attrs.field(factory=list)

    def add(self, broker: Any) -> Any:
        """Remember an instance for the verdict and for the report, and give it the test's snapshots."""
        self.opened.append(broker)
        broker._snapshots = self.snapshots
        return broker

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Broker]:
        """The `broker` fixture's instance."""
        async with opened(self.options(), self.sink) as broker:
            yield self.add(broker)


class Instances:
    """The `instance` fixture: ``async with instance(size=4) as broker``, or ``with`` in a test that is no coroutine.

    Arguments are those of the marker and go before it. The laws are checked where the block ends well.
    """

    def __init__(self, instances: TestInstances) -> None:
        self._instances = instances

    def __call__(self, **settings: object) -> OneInstance:
        return OneInstance(self._instances, settings)


class OneInstance(AbstractAsyncContextManager[Broker], AbstractContextManager[SyncBroker]):
    """One instance of the `instance` fixture."""

    def __init__(self, instances: TestInstances, settings: dict[str, Any]) -> None:
        self._instances = instances
        self._settings = settings
        self._open: Any = None
        self._broker: Any = None

    async def __aenter__(self) -> Broker:
        options = self._instances.options(**self._settings)
        is_virtual = isinstance(trio.lowlevel.current_clock(), VirtualClock)
        if options.clock.is_virtual != is_virtual:
            # A coroutine test runs on one clock, which is chosen before its first line.
            text = f"the clock of this test is {'virtual' if is_virtual else 'real'}, not {options.clock}"
            raise ValueError(f'{text}: mark it with @pytest.mark.brokersim(clock="{options.clock}")')
        self._open = opened(options, self._instances.sink)
        self._broker = self._instances.add(await self._open.__aenter__())
        return self._broker  # type: ignore[no-any-return]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        try:
            if kind is None:
                await self._broker.verify()
        finally:
            self._instances.opened.remove(self._broker)
            await self._open.__aexit__(kind, error, trace)

    def __enter__(self) -> SyncBroker:
        self._open = opened_sync(self._instances.options(**self._settings), self._instances.sink)
        self._broker = self._instances.add(self._open.__enter__())
        return self._broker  # type: ignore[no-any-return]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        try:
            if kind is None:
                self._broker.verify()
        finally:
            self._instances.opened.remove(self._broker)
            self._open.__exit__(kind, error, trace)
