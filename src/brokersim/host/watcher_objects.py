"""Knows Flux's watcher objects: timers and hooks with ``start``, ``stop`` and a four-argument callback."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from brokersim.host.callee import Callee
from brokersim.reactor.actor import Timer
from brokersim.reactor.loop import FOREVER, NS
from brokersim.reactor.watchers import Watcher

Callback = Callable[..., object]


class _FluxWatcher:
    """What all watchers share: ``start`` and ``stop``, also as a context manager."""

    def __init__(self, handle: Callee, callback: Callback | None, args: object) -> None:
        self.handle = handle
        self.callback = callback
        self.args = args

    def start(self) -> Any:
        raise NotImplementedError

    def stop(self) -> Any:
        raise NotImplementedError

    def destroy(self) -> None:
        """Stop for good."""
        self.stop()

    def ref(self) -> None:
        """Upstream: let it keep the reactor alive. A module's loop lives as long as the module here."""

    def unref(self) -> None:
        """The opposite of ``ref``."""

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self) -> None:
        if self.callback is not None:
            self.handle.enter(self.callback, self.handle, self, 0, self.args)


class TimerWatcher(_FluxWatcher):
    """Calls once after ``after`` seconds, then every ``repeat`` seconds; a late one calls once, not in a burst."""

    def __init__(self, handle: Callee, after: float, callback: Callback, repeat: float, args: object) -> None:
        if after < 0 or repeat < 0:
            raise ValueError(f"a timer needs times of 0 s or more, not after={after}, repeat={repeat}")
        super().__init__(handle, callback, args)
        self.after = after
        self.repeat = repeat
        self._timer: Timer | None = None
        self._due = 0

    def start(self) -> TimerWatcher:
        if self._timer is None:
            self._due = self.handle.reactor.now + round(min(self.after, FOREVER) * NS)
            self._arm()
        return self

    def stop(self) -> TimerWatcher:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self

    def reset(self, after: float = 0.0, repeat: float = 0.0) -> None:
        """New times, as if made with them; a running watcher starts anew."""
        running = self._timer is not None
        self.stop()
        self.after, self.repeat = after, repeat
        if running:
            self.start()

    def _arm(self) -> None:
        self._timer = self.handle.reactor.call_at(self._due, self._fire, actor=self.handle)

    def _fire(self) -> None:
        self._timer = None
        if self.repeat:
            self._due = max(self._due + round(min(self.repeat, FOREVER) * NS), self.handle.reactor.now)
            self._arm()
        self._call()


class HookWatcher(_FluxWatcher):
    """A prepare, check or idle watcher of the module's loop."""

    def __init__(self, handle: Callee, kind: str, callback: Callback | None, args: object) -> None:
        super().__init__(handle, callback, args)
        self.kind = kind
        self._watcher: Watcher | None = None

    def start(self) -> HookWatcher:
        if self._watcher is None:
            self._watcher = Watcher(self.handle.module_loop(), self.kind, self._callee())
        self._watcher.start()
        return self

    def _callee(self) -> Callable[[], object] | None:
        """What the loop calls; without frames of ours between where the callback needs no stack of its own."""
        if self.callback is None or self.handle.workers is not None:
            return None if self.callback is None else self._call
        return partial(self.callback, self.handle, self, 0, self.args)

    def stop(self) -> HookWatcher:
        if self._watcher is not None:
            self._watcher.stop()
        return self
