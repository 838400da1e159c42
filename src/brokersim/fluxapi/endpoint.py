"""Knows how messages reach a module written for Flux: by its message watchers. Not what the module sees of itself."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Protocol

from brokersim.host.handle import Handle, Living
from brokersim.host.ports import Home
from brokersim.protocol import message as wire
from brokersim.reactor.actor import FAILURES
from brokersim.reactor.interrupts import pass_on
from brokersim.reactor.step import ModuleUnloaded
from brokersim.routing.endpoint import Handler, Method

#: Bit of each of our message types in Flux's type masks.
_BITS = {wire.REQUEST: 1, wire.RESPONSE: 2, wire.EVENT: 4, wire.CONTROL: 8}


class Taker(Protocol):
    """Whoever takes messages that match."""

    type_mask: int
    topic_glob: str
    #: Roles that may send it requests.
    rolemask: int

    def take(self, message: wire.Message) -> None:
        """Be given one."""


class EntryRun(Protocol):
    """The run of a file's entry point, as its endpoint sees it."""

    def reactor_run(self) -> int:
        """Wait until the reactor is stopped: 0, or -1 if with an error."""

    def stop(self, error: BaseException | None = None, code: int = 0) -> bool:
        """Let ``reactor_run`` return, or raise; False if none runs."""

    def abandon(self) -> None:
        """Throw the entry point out where it waits."""


class FluxHandle(Protocol):
    """The handle a module was given, as what is made with it sees it."""

    endpoint: FluxEndpoint

    def add_watcher(self, watcher: Any) -> None:
        """One was made with it."""

    def del_watcher(self, watcher: Any) -> None:
        """One was destroyed."""

    def get_reactor(self) -> Any:
        """What its callbacks run on."""


class FluxEndpoint(Handle):
    """A module's end of all exchanges. A message goes to the watcher started last that matches; events to all."""

    __slots__ = ("run", "watchers")

    def __init__(self, broker: Home, name: str, uuid: str | int, module: Living | None = None) -> None:
        super().__init__(broker, name, uuid, module)
        self.watchers: list[Taker] = []
        #: The entry point's run, once it has begun.
        self.run: EntryRun | None = None

    def start_watcher(self, watcher: Taker) -> None:
        if watcher not in self.watchers:
            self.watchers.append(watcher)

    def stop_watcher(self, watcher: Taker) -> None:
        if watcher in self.watchers:
            self.watchers.remove(watcher)

    # -- receiving

    def method(self, topic: str) -> Method | None:
        """Watchers come and go, so who gets a request is found when it is handed out, roles included."""
        return self._request, True

    def event_handler(self, topic: str) -> Handler:
        return self._event

    def guest_event_handler(self, topic: str) -> Handler:
        return self._event  # each watcher has roles of its own

    def _request(self, request: wire.Message) -> None:
        watcher = self._watcher_of(request)
        if watcher is not None:
            if request.rolemask & watcher.rolemask or request.rolemask & wire.ROLE_OWNER:
                self._deliver(watcher, request)
            else:
                self.deny(request)
            return
        default = Handle.method(self, request.topic)
        if default is None:
            self.unknown_method(request)
        elif not default[1] and not request.rolemask & wire.ROLE_OWNER:
            self.deny(request)
        else:
            default[0](request)

    def _event(self, event: wire.Message) -> None:
        if event.topic == f"{self.name}.stats-clear" and event.rolemask & wire.ROLE_OWNER:
            self.clear_counts()
        for watcher in tuple(self.watchers):
            if event.rolemask & (watcher.rolemask | wire.ROLE_OWNER) and _matches(watcher, event):
                self._deliver(watcher, event)

    def stray_response(self, response: wire.Message) -> None:
        """An answer to a request that was sent with ``send``."""
        watcher = self._watcher_of(response)
        if watcher is None:
            super().stray_response(response)
        else:
            self._deliver(watcher, response)

    def _watcher_of(self, message: wire.Message) -> Taker | None:
        """As in Flux: a watcher of exactly this topic before one whose glob matches, later ones before earlier."""
        matching = [watcher for watcher in reversed(self.watchers) if _matches(watcher, message)]
        exact = (watcher for watcher in matching if watcher.topic_glob == message.topic)
        return next(exact, matching[0] if matching else None)

    def _deliver(self, watcher: Taker, message: wire.Message) -> None:
        self.enter(watcher.take, message)

    # -- callbacks

    def enter(self, fn: Callable[..., object], *args: Any) -> None:
        """Call a callback of the module on a stack of its own; what it raises ends the module, as in Flux."""
        assert self.workers is not None
        self.workers.call(self, None, self._guarded, fn, args)

    def _guarded(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            fn(*args)
        except ModuleUnloaded:
            raise
        except FAILURES as error:
            pass_on(error)
            if self.run is None or not self.run.stop(error):
                self.failed(error, None)

    def close(self) -> None:
        """The end of the module: its entry point, if it still waits, is thrown out."""
        run, self.run = self.run, None
        if run is not None:
            run.abandon()
        for watcher in tuple(self.watchers):
            self.stop_watcher(watcher)
        super().close()


def _matches(watcher: Taker, message: wire.Message) -> bool:
    return bool(watcher.type_mask & _BITS[message.type]) and fnmatchcase(message.topic, watcher.topic_glob)
