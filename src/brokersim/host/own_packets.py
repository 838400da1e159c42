"""Knows that a module file may send packets by a socket of its own: each is work, charged like the instrument's.

Only what the file itself calls ``socket`` is watched, not libraries it imports. A file with an instrument of its own
looks at debug bit 0x1000, as the journal's patch did, which switches the built-in one on as well: told once in the log.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from types import ModuleType
from typing import Any
from weakref import WeakSet

from brokersim.host.instrument import MSGCOUNT
from brokersim.reactor.loop import Reactor
from brokersim.routing.logring import WARNING

#: Those that module files were loaded for.
_reactors: WeakSet[Reactor] = WeakSet()


class _Kind(type):
    """To the file, sockets it did not make are of its class as well."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, socket.socket)


class OwnSocket(socket.socket, metaclass=_Kind):
    """A module's socket: a datagram that it sends is one packet of work."""

    __slots__ = ()

    def send(self, *args: Any) -> int:
        _sent(self)
        return super().send(*args)

    def sendto(self, *args: Any) -> int:
        _sent(self)
        return super().sendto(*args)

    def sendmsg(self, *args: Any) -> int:
        _sent(self)
        return super().sendmsg(*args)


def watch(files: Iterable[ModuleType]) -> None:
    """Have what these module files call ``socket`` send for their modules."""
    for file in files:
        for name, value in list(vars(file).items()):
            if value is socket:
                setattr(file, name, _own_module())
            elif value is socket.socket:
                setattr(file, name, OwnSocket)


def charge(reactor: Reactor) -> None:
    """Packets of modules that run on this reactor are its work from now on."""
    _reactors.add(reactor)


def _own_module() -> ModuleType:
    own = ModuleType("socket", socket.__doc__)
    vars(own).update(vars(socket), socket=OwnSocket)
    return own


def _sent(sender: socket.socket) -> None:
    if sender.type != socket.SOCK_DGRAM:
        return
    for reactor in _reactors:
        if reactor.current is not None and reactor.is_inside:
            reactor.extra += 1
            tell_twice(reactor.current)
            return


def tell_twice(handle: Any) -> None:
    """Once a module: a line in the log if its own packets go out beside those of the built-in instrument."""
    instrument = getattr(handle, "instrument", None)
    if instrument is None or instrument.has_told or not instrument.sends:
        return
    instrument.has_told = True
    handle.log(
        WARNING,
        f"sends packets of its own while debug bit {MSGCOUNT:#x} has the built-in {instrument.hook} hook send its "
        "counters as well: what both tell is told twice",
    )
