"""Knows Flux's watcher objects: timers, hooks, file descriptors, signals; not the loop they are in."""

from __future__ import annotations

import errno
import select
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from brokersim.fluxapi.constants import FLUX_POLLERR, FLUX_POLLIN, FLUX_POLLOUT
from brokersim.fluxapi.endpoint import FluxHandle
from brokersim.host.watcher_objects import HookWatcher
from brokersim.host.watcher_objects import TimerWatcher as InnerTimer

__all__ = ["CheckWatcher", "FDWatcher", "IdleWatcher", "PrepareWatcher", "SignalWatcher", "TimerWatcher"]

Callback = Callable[..., object]


class Watcher:
    """What all watchers share; one is stopped when made, and a context manager starts and stops it."""

    def __init__(self, flux_handle: FluxHandle, handle: Any = None) -> None:
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
        self,
        flux_handle: FluxHandle,
        after: float,
        callback: Callback,
        repeat: float = 0,
        args: object = None,
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

    def __init__(self, flux_handle: FluxHandle, callback: Callback | None, args: object = None) -> None:
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

    def __init__(self, flux_handle: FluxHandle, callback: Callback, args: object = None) -> None:
        super().__init__(flux_handle, callback, args)


class CheckWatcher(_Hook):
    """Called after each poll, before a message is handed out."""

    kind = "check"

    def __init__(self, flux_handle: FluxHandle, callback: Callback, args: object = None) -> None:
        super().__init__(flux_handle, callback, args)


class IdleWatcher(_Hook):
    """Keeps poll from blocking; called, if it has a callback, in turns without events."""

    kind = "idle"

    def __init__(
        self, flux_handle: FluxHandle, callback: Callback | None = None, args: object = None
    ) -> None:
        super().__init__(flux_handle, callback, args)


class _Outside(Watcher):
    """A watcher of something outside the loop: who hosts the module waits for it while the watcher is started."""

    callback: Callback
    args: Any

    def __init__(self, flux_handle: FluxHandle) -> None:
        super().__init__(flux_handle)
        self._end: Callable[[], object] | None = None

    def start(self) -> Self:
        if self._end is None:
            self._end = self._begin(self.flux_handle.endpoint.broker.instance)
        return self

    def stop(self) -> Self:
        if self._end is not None:
            self._end()
            self._end = None
        return self

    def _begin(self, instance: object) -> Callable[[], object]:
        raise NotImplementedError

    def _report(self, *what: object) -> None:
        self.flux_handle.endpoint.enter(self.callback, self.flux_handle, self, *what, self.args)


class FDWatcher(_Outside):
    """Calls ``callback(handle, watcher, fd, revents, args)`` while a file descriptor is ready."""

    def __init__(
        self, flux_handle: FluxHandle, fd_int: int, events: int, callback: Callback, args: object = None
    ) -> None:
        self.fd_int = fd_int
        self.events = events
        self.callback = callback
        self.args = args
        super().__init__(flux_handle)

    def _begin(self, instance: Any) -> Callable[[], object]:
        events = sum(poll for flux, poll in _POLLS if self.events & flux)
        end: Callable[[], object] = instance.watch_fd(
            self.flux_handle.endpoint, self.fd_int, events, self._ready
        )
        return end

    def _ready(self, found: int) -> None:
        revents = 0
        for flux, poll in (*_POLLS, (FLUX_POLLERR, select.POLLHUP)):
            if found & poll:
                revents |= flux
        self._report(self.fd_int, revents)


#: Flux's bits and those of `select.poll`.
_POLLS = ((FLUX_POLLIN, select.POLLIN), (FLUX_POLLOUT, select.POLLOUT), (FLUX_POLLERR, select.POLLERR))


class SignalWatcher(_Outside):
    """Calls ``callback(handle, watcher, signum, args)`` when the process gets a signal; in the main thread only."""

    def __init__(
        self, flux_handle: FluxHandle, signal_int: int, callback: Callback, args: object = None
    ) -> None:
        if not 1 <= signal_int < signal.NSIG:
            raise OSError(errno.EINVAL, "invalid signal number")
        self.signal_int = signal_int
        self.callback = callback
        self.args = args
        super().__init__(flux_handle)

    def _begin(self, instance: Any) -> Callable[[], object]:
        end: Callable[[], object] = instance.watch_signal(
            self.flux_handle.endpoint, self.signal_int, self._signalled
        )
        return end

    def _signalled(self) -> None:
        self._report(self.signal_int)
