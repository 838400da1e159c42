"""Knows Flux's base class of broker modules, its decorators and its entry point rule; not how a module is hosted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from brokersim.brokermod import BrokerLogger as _Logger
from brokersim.fluxapi.constants import (
    FLUX_MSGTYPE_EVENT,
    FLUX_MSGTYPE_REQUEST,
    FLUX_ROLE_OWNER,
    FLUX_ROLE_USER,
)

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux
    from brokersim.fluxapi.message import Message, MessageWatcher

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_flux_handler"


class BrokerLogger(_Logger):
    """Writes to the broker's log from a level on; also callable as ``log(level, msg)``."""

    def __call__(self, level: int, msg: str) -> None:
        self.log(level, msg)


def request_handler(topic: str, prefix: bool = True, allow_guest: bool = False) -> Callable[[F], F]:
    """Mark a method ``(self, msg)`` as handler of requests; with ``prefix`` the module's name goes before the topic."""
    return _marker(FLUX_MSGTYPE_REQUEST, topic, prefix, allow_guest)


def event_handler(topic: str, prefix: bool = True) -> Callable[[F], F]:
    """Mark a method ``(self, msg)`` as handler of events, which are subscribed to by themselves."""
    return _marker(FLUX_MSGTYPE_EVENT, topic, prefix, False)


def _marker(msgtype: int, topic: str, prefix: bool, allow_guest: bool) -> Callable[[F], F]:
    def mark(method: F) -> F:
        setattr(method, _MARK, (msgtype, topic, prefix, allow_guest))
        return method

    return mark


class BrokerModule:
    """Base class of a broker module: its decorated methods are handlers from the moment it is made."""

    def __init__(self, h: Flux, *args: str) -> None:
        self._handle = h
        self._args = args
        self._watchers: list[MessageWatcher] = []
        self._stopped_with_error = False
        self.log = BrokerLogger(h.endpoint)
        self._register_all(self)

    def _register_all(self, of: object) -> None:
        """What is marked as handler in the class of ``of`` is one of this module's."""
        for attribute, mark in _marks(type(of)).items():
            self._register(getattr(of, attribute), *mark)

    def _register(
        self, method: Callable[[Message], object], msgtype: int, topic: str, prefix: bool, allow_guest: bool
    ) -> None:
        topic = f"{self.name}.{topic}" if prefix else topic
        if msgtype == FLUX_MSGTYPE_EVENT:
            self.handle.event_subscribe(topic)
        watcher = self.handle.msg_watcher_create(
            lambda _h, _w, msg, _a: method(msg),
            msgtype,
            topic,
            rolemask=FLUX_ROLE_OWNER | FLUX_ROLE_USER if allow_guest else None,
        )
        self._watchers.append(watcher.start())

    @property
    def handle(self) -> Flux:
        return self._handle

    @property
    def name(self) -> str:
        """The name it was loaded under."""
        return self._handle.endpoint.name

    @property
    def args(self) -> tuple[str, ...]:
        return self._args

    def set_running(self) -> None:
        """Say it is ready before the reactor runs."""
        if self.handle.endpoint.module is not None:
            self.handle.endpoint.module.set_running()

    def debug_test(self, flag: int, clear: bool = False) -> bool:
        """Is a bit of the debug mask set? ``clear`` clears it."""
        endpoint = self.handle.endpoint
        is_set = bool(endpoint.mask & flag)
        if clear and is_set:
            endpoint.set_mask(endpoint.mask & ~flag)
        return is_set

    def stop(self) -> None:
        """Let ``run`` return."""
        self.handle.reactor_stop()

    def stop_error(self) -> None:
        """Let ``run`` raise OSError."""
        self._stopped_with_error = True
        self.handle.reactor_stop_error()

    def run(self) -> None:
        """Run the reactor until it is stopped. Raises OSError if that was with an error."""
        if self.handle.reactor_run() < 0 or self._stopped_with_error:
            raise OSError("reactor exited with error")


def _marks(cls: type) -> dict[str, tuple[int, str, bool, bool]]:
    """Handlers by attribute, base classes last; each attribute once."""
    found: dict[str, tuple[int, str, bool, bool]] = {}
    for base in cls.__mro__:
        for attribute, value in vars(base).items():
            mark = getattr(value, _MARK, None)
            if mark is not None and attribute not in found:
                found[attribute] = mark
    return found


def resolve_entry_point(mod: object) -> Callable[..., object]:
    """``mod_main``, else the one BrokerModule subclass made and run. Raises ValueError if there is no such one."""
    mod_main = getattr(mod, "mod_main", None)
    if mod_main is not None:
        return mod_main  # type: ignore[no-any-return]
    classes = [
        value
        for value in vars(mod).values()
        if isinstance(value, type) and issubclass(value, BrokerModule) and value is not BrokerModule
    ]
    if len(classes) == 1:
        cls = classes[0]
        return lambda h, *args: cls(h, *args).run()
    if classes:
        names = ", ".join(cls.__name__ for cls in classes)
        raise ValueError(f"multiple BrokerModule subclasses found ({names}); define mod_main()")
    raise ValueError("no mod_main() or BrokerModule subclass found")
