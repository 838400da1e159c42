"""Knows how to step a coroutine without trio: it awaits `Wait` objects, each resumed by one callback."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from brokersim.reactor.actor import FAILURES

if TYPE_CHECKING:
    from brokersim.reactor.loop import Reactor

#: Times a coroutine is thrown out before it is left alone: enough for nested ``finally`` blocks that wait.
_PATIENCE = 8

Resume = Callable[[Any, BaseException | None], None]


class ModuleUnloaded(BaseException):
    """Thrown into coroutines that wait when their module goes; not an Exception, so no handler swallows it."""


class Wait:
    """Something a coroutine can await: ``begin(resume)`` starts it, ``resume(value, error)`` ends it, once.

    ``abandon`` is called instead of waiting any longer. The same object may be awaited in a stepped coroutine
    or in a trio task; the reactor's runner supplies the second way (``Host.wait_in_task``).
    """

    __slots__ = ("reactor",)

    def __init__(self, reactor: Reactor) -> None:
        self.reactor: Reactor = reactor

    def begin(self, resume: Resume) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """Nobody waits any more."""

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.reactor.stepping is not None:
            return (yield self)
        return (yield from self.reactor.host.wait_in_task(self).__await__())


class Stepper:
    """Drives one coroutine; ``done(error)`` is called at its end, with None or what it raised."""

    __slots__ = ("_coro", "_done", "_reactor", "_throws", "_token", "_wait")

    def __init__(
        self,
        reactor: Reactor,
        coro: Coroutine[Any, Any, Any],
        done: Callable[[Stepper, BaseException | None], None],
    ) -> None:
        self._reactor = reactor
        self._coro = coro
        self._done = done
        self._wait: Wait | None = None
        self._token = 0
        self._throws = 0

    def start(self) -> None:
        """Run to the first wait."""
        self._step(None, None)

    def throw(self) -> None:
        """End it with ModuleUnloaded at its wait; one that is running right now ends at its next wait."""
        self._throws += 1
        if self._wait is not None:
            self._wait.abandon()
            self._step(None, ModuleUnloaded())

    def _step(self, value: object, error: BaseException | None) -> None:
        self._wait = None
        self._token += 1
        reactor = self._reactor
        outer, reactor.stepping = reactor.stepping, self
        try:
            wait = self._coro.send(value) if error is None else self._coro.throw(error)
        except StopIteration:
            self._done(self, None)
        except FAILURES as raised:
            self._done(self, raised)
        else:
            self._begin(wait)
        finally:
            reactor.stepping = outer

    def _begin(self, wait: object) -> None:
        if not isinstance(wait, Wait):
            error = TypeError(
                f"a stepped handler may await only its handle's waits, not {wait!r}; use @trio_task for trio"
            )
            self._step(None, error)
            return
        if self._throws > _PATIENCE:
            # It swallows what ends it. Dropped here and now, where a last await of it still finds the mark of
            # stepping: collected later it would take the trio task of that moment for its own.
            del self._coro
            self._done(self, None)
            return
        if self._throws:
            self._throws += 1
            self._step(None, ModuleUnloaded())
            return
        self._wait = wait
        token = self._token

        def resume(value: object, error: BaseException | None) -> None:
            if token == self._token:  # a late answer to a wait that was abandoned finds another token
                self._step(value, error)

        try:
            wait.begin(resume)
        except FAILURES as error:
            resume(None, error)
