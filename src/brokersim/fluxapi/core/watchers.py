"""Knows Flux's watcher objects: timers, hooks, file descriptors, signals; not the loop they are in."""

from __future__ import annotations

import errno
import select
import signal
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from brokersim.broker.watcher_objects import HookWatcher
from brokersim.broker.watcher_objects import TimerWatcher as InnerTimer
from brokersim.fluxapi.constants import FLUX_POLLERR, FLUX_POLLIN, FLUX_POLLOUT

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux

__all__ = ["CheckWatcher", "FDWatcher", "IdleWatcher", "PrepareWatcher", "SignalWatcher", "TimerWatcher"]

Callback = Callable[..., object]


class Watcher:
    """What all watchers share; one is stopped when made, and a context manager starts and stops it."""

    def __init__(self, flux_handle: Flux, handle: Any = None) -> None:
        self.flux_handle = flux_handle
        self.flux_handle.add_watcher(self)
        #: What does the watching.
        self.handle = handle

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, type_arg: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Any:
        self.handle.start()
        return self

    def stop(self) -> Any:
        self.handle.stop()
        return self

    def ref(self) -> Self:
        """In Flux: let it keep the reactor running. Here a module's loop lives as long as the module."""
        return self

    def unref(self) -> Self:
        """The opposite of ``ref``."""
        return self

    def destroy(self) -> None:
        """Stop for good."""
        self.stop()
        self.flux_handle.del_watcher(self)


class TimerWatcher(Watcher):
    """Calls ``callback(handle, watcher, revents, args)`` after ``after`` s, then every ``repeat`` s."""

    def __init__(
        self, flux_handle: Flux, after: float, callback: Callback, repeat: float = 0, args: Any = None
    ) -> None:
        self.after = after
        self.repeat = repeat
        self.callback = callback
        self.args = args
        endpoint = flux_handle.endpoint
        super().__init__(flux_handle, InnerTimer(endpoint, float(after), self._call, float(repeat), None))

    def _call(self, *_: object) -> None:
        self.callback(self.flux_handle, self, 0, self.args)

    def reset(self, after: float | None = None, repeat: float | None = None) -> None:
        """New times, or those it was made with, and start anew."""
        self.handle.stop()
        self.handle.reset(
            float(self.after if after is None else after), float(self.repeat if repeat is None else repeat)
        )
        self.start()


class _Hook(Watcher):
    kind = ""

    def __init__(self, flux_handle: Flux, callback: Callback | None, args: Any = None) -> None:
        self.callback = callback
        self.args = args
        call = None if callback is None else self._call
        super().__init__(flux_handle, HookWatcher(flux_handle.endpoint, self.kind, call, None))

    def _call(self, *_: object) -> None:
        assert self.callback is not None
        self.callback(self.flux_handle, self, 0, self.args)


class PrepareWatcher(_Hook):
    """Called before each poll."""

    kind = "prepare"

    def __init__(self, flux_handle: Flux, callback: Callback, args: Any = None) -> None:
        super().__init__(flux_handle, callback, args)


class CheckWatcher(_Hook):
    """Called after each poll, before a message is handed out."""

    kind = "check"

    def __init__(self, flux_handle: Flux, callback: Callback, args: Any = None) -> None:
        super().__init__(flux_handle, callback, args)


class IdleWatcher(_Hook):
    """Keeps poll from blocking; called, if it has a callback, in turns without events."""

    kind = "idle"

    def __init__(self, flux_handle: Flux, callback: Callback | None = None, args: Any = None) -> None:
        super().__init__(flux_handle, callback, args)


class _Task(Watcher):
    """A watcher of something outside the reactor: a trio task waits for it while the watcher is started."""

    callback: Callback
    args: Any

    def __init__(self, flux_handle: Flux) -> None:
        super().__init__(flux_handle)
        self._run: trio.CancelScope | None = None

    def start(self) -> Self:
        if self._run is None:
            self._run = trio.CancelScope()
            self.flux_handle.endpoint.start_task(self._watch, self._run)
        return self

    def stop(self) -> Self:
        if self._run is not None:
            self._run.cancel()
            self._run = None
        return self

    async def _watch(self, scope: trio.CancelScope) -> None:
        raise NotImplementedError

    async def _report(self, *what: Any) -> None:
        """Call back as an iteration of the module's loop, and wait until that has been."""
        endpoint = self.flux_handle.endpoint
        await endpoint.occurrence(
            lambda done: endpoint.call_later(0, self._called, done, what)  # a timer is what a loop turns for
        )

    def _called(self, done: Callable[[Any], None], what: tuple[Any, ...]) -> None:
        done(None)
        if self._run is not None:
            self.flux_handle.endpoint.enter(self.callback, self.flux_handle, self, *what, self.args)


class FDWatcher(_Task):
    """Calls ``callback(handle, watcher, fd, revents, args)`` while a file descriptor is ready."""

    def __init__(
        self, flux_handle: Flux, fd_int: int, events: int, callback: Callback, args: Any = None
    ) -> None:
        self.fd_int = fd_int
        self.events = events
        self.callback = callback
        self.args = args
        super().__init__(flux_handle)

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                async with trio.open_nursery() as nursery:
                    if self.events & FLUX_POLLIN:
                        nursery.start_soon(_then_cancel, trio.lowlevel.wait_readable, self.fd_int, nursery)
                    if self.events & FLUX_POLLOUT:
                        nursery.start_soon(_then_cancel, trio.lowlevel.wait_writable, self.fd_int, nursery)
                await self._report(self.fd_int, self._ready())

    def _ready(self) -> int:
        poll = select.poll()
        poll.register(self.fd_int, select.POLLIN | select.POLLOUT)
        found = dict(poll.poll(0)).get(self.fd_int, 0)
        ready = (FLUX_POLLIN if found & select.POLLIN else 0) | (
            FLUX_POLLOUT if found & select.POLLOUT else 0
        )
        return (ready | (FLUX_POLLERR if found & (select.POLLERR | select.POLLHUP) else 0)) & (
            self.events | FLUX_POLLERR
        )


async def _then_cancel(wait: Callable[[int], Any], fd: int, nursery: trio.Nursery) -> None:
    await wait(fd)
    nursery.cancel_scope.cancel()


class SignalWatcher(_Task):
    """Calls ``callback(handle, watcher, signum, args)`` when the process gets a signal; in the main thread only."""

    def __init__(self, flux_handle: Flux, signal_int: int, callback: Callback, args: Any = None) -> None:
        if not 1 <= signal_int < signal.NSIG:
            raise OSError(errno.EINVAL, "invalid signal number")
        self.signal_int = signal_int
        self.callback = callback
        self.args = args
        super().__init__(flux_handle)

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope, trio.open_signal_receiver(signal.Signals(self.signal_int)) as signals:
            async for number in signals:
                await self._report(int(number))
