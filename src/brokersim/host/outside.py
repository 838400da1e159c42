"""Knows how a module watches descriptors and signals: a trio task waits, the module's loop turns. Not what for."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable
from typing import Any

import trio

from brokersim.host.ports import Watching

_ERRORS = select.POLLERR | select.POLLHUP


def watch_fd(who: Watching, fd: int, events: int, call: Callable[[int], object]) -> Callable[[], object]:
    """Call ``call(revents)`` while ``fd`` is ready (masks of `select.poll`); returns what stops that."""
    return _Watch(who, call).start(_await_fd, fd, events)


def watch_signal(who: Watching, number: int, call: Callable[[], object]) -> Callable[[], object]:
    """Call back when the process gets a signal, in the main thread only; returns what stops that."""
    return _Watch(who, call).start(_await_signal, number)


class _Watch:
    """One task that waits for something outside the reactor, and calls back as an iteration of its module's loop."""

    def __init__(self, who: Watching, call: Callable[..., object]) -> None:
        self._who = who
        self._call = call
        self._scope = trio.CancelScope()

    def start(self, wait: Callable[..., Any], *args: object) -> Callable[[], object]:
        self._who.start_task(self._run, wait, args)
        return self._scope.cancel

    async def _run(self, wait: Callable[..., Any], args: tuple[object, ...]) -> None:
        with self._scope:
            await wait(self.report, *args)

    async def report(self, *what: object) -> None:
        """Call back, and wait until that has been."""
        who = self._who
        # A timer is what a loop turns for.
        await who.occurrence(lambda done: who.call_later(0, self._called, done, what))

    def _called(self, done: Callable[[object], None], what: tuple[object, ...]) -> None:
        done(None)
        if not self._scope.cancel_called:
            self._call(*what)


async def _await_fd(report: Callable[..., Any], fd: int, events: int) -> None:
    while True:
        async with trio.open_nursery() as nursery:
            if events & select.POLLIN:
                nursery.start_soon(_then_cancel, trio.lowlevel.wait_readable, fd, nursery)
            if events & select.POLLOUT:
                nursery.start_soon(_then_cancel, trio.lowlevel.wait_writable, fd, nursery)
        await report(_ready(fd, events))


def _ready(fd: int, events: int) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT)
    return dict(poll.poll(0)).get(fd, 0) & (events | _ERRORS)


async def _then_cancel(wait: Callable[[int], Any], fd: int, nursery: trio.Nursery) -> None:
    await wait(fd)
    nursery.cancel_scope.cancel()


async def _await_signal(report: Callable[..., Any], number: int) -> None:
    with trio.open_signal_receiver(signal.Signals(number)) as signals:
        async for _ in signals:
            await report()
