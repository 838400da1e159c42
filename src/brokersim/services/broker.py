"""Knows one rank as its modules and services see it: a router with a log and attributes, and an instance around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from brokersim.host.background import Background
from brokersim.host.course import Done, Loaded
from brokersim.host.handle import Handle
from brokersim.host.handler_table import HandlerTable
from brokersim.host.observers import Observe, Observers, unobserved
from brokersim.host.ports import LocalHome, Program, Surroundings
from brokersim.protocol.resources import Resources
from brokersim.reactor.run import Runner
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.ports import Ranks
from brokersim.routing.rank import Rank

#: What clients serve, by the class of their body.
_TABLES: Final[dict[type, HandlerTable]] = {}


class Modules(Protocol):
    """What a rank's services ask of the modules there are."""

    def load(self, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done) -> None:
        """Load a file; ``done(error)`` is called when it runs or has failed. Raises RequestError at once if it can."""

    def load_process(
        self, loader: str | None, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done
    ) -> None:
        """The same in a process of its own, by our loader or by ``flux``."""

    def defer(self, rank: int, name: str, is_wanted: bool) -> None:
        """Keep requests from a module until told otherwise. Raises RequestError(ENOENT)."""


class Whole(Ranks, Surroundings, Protocol):
    """What a rank's services ask of the instance."""

    runner: Runner
    resources: Resources
    #: What loads modules, and takes them down.
    loaded: Modules
    #: Trio tasks that end by themselves, or are cancelled with the instance.
    background: Background

    def broker(self, rank: int) -> Broker:
        """One of its ranks."""

    def all_endpoints(self) -> Iterator[Endpoint]:
        """Every party on every rank."""

    def modules(self, rank: int) -> list[Loaded]:
        """The modules loaded on a rank, in the order they were."""

    def module(self, rank: int, name: str) -> Loaded:
        """Raises RequestError(ENOENT) that names the modules there are."""

    def messages(self) -> int:
        """Messages received by all parties since the start."""

    def fail(self, why: str) -> None:
        """Ask for its end, which is nobody's wish: ``why`` is told."""

    def stop(self) -> None:
        """Ask for its end."""


class Broker(Rank, LocalHome):
    """A rank, with what speaks for its broker and the instance it is part of."""

    instance: Whole
    endpoint: Handle

    def __init__(
        self,
        instance: Whole,
        rank: int,
        speaker: Callable[[Broker], Handle],
        built_in: Callable[[Broker, str], Handle | None],
    ) -> None:
        super().__init__(instance, rank)
        self.instance = instance
        self._built_in = built_in
        self._observers: Observers | None = None
        #: What modules run for rexec, by the command's name, each with whose it is.
        self._programs: dict[str, tuple[Program, Endpoint]] | None = None
        self.endpoint = speaker(self)

    @property
    def observers(self) -> Observers:
        """Who listens to observations here; made when somebody does."""
        if self._observers is None:
            self._observers = Observers(self._handles)
        return self._observers

    @property
    def observe(self) -> Observe:
        """What a handle's ``observe`` is at this moment."""
        return unobserved if self._observers is None else self._observers.observe

    def _handles(self) -> Iterator[Handle]:
        return (one for one in self.endpoints if isinstance(one, Handle))

    def built_in(self, name: str) -> Handle | None:
        return self._built_in(self, name)

    def client(self, name: str, body: object = None, rank: int | None = None) -> Handle:
        """One more party here, or on another rank, as a client of the socket is; ``close()`` it when done."""
        if rank is not None and rank != self.rank:
            return self.instance.broker(rank).client(name, body)
        handle = Handle(self, name, self.instance.identities.uuid(self.rank, name))
        if body is not None:
            kind = type(body)
            if kind not in _TABLES:
                _TABLES[kind] = HandlerTable.of(kind)
            handle.body, handle.table = body, _TABLES[kind]
        self.add_endpoint(handle)
        return handle

    def offer(self, name: str, program: Program, endpoint: Endpoint) -> bool:
        """Commands called ``name`` are run by ``program`` from now on."""
        if self._programs is None:
            self._programs = {}
        self._programs[name] = program, endpoint
        return True

    def program(self, name: str) -> Program | None:
        """What runs commands of this name here; ``None``: a process is started."""
        return self._programs[name][0] if self._programs is not None and name in self._programs else None

    def drop_endpoint(self, endpoint: Endpoint) -> None:
        """As `Rank`'s; it listens to no observation any more, and what it offered is gone."""
        if self._observers is not None:
            self._observers.drop(endpoint)
        if self._programs:
            self._programs = {name: one for name, one in self._programs.items() if one[1] is not endpoint}
        super().drop_endpoint(endpoint)

    def module(self, name: str) -> Handle:
        """The handle of a module loaded here: its counters, its mask. Raises RequestError(ENOENT)."""
        return self.instance.module(self.rank, name).handle
