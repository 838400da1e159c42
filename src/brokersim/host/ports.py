"""Knows what a module's handle, and its life, ask of where they are at home; implements none of it.

There are three homes: in the broker's process the rank and its instance (`services/broker.py`, `instance.py`), for a
module in a process of its own `far.py`, and for what the broker sees of such a one the rank again. Each says in its
list of bases what it implements, so that a method that goes missing is an error of the type checker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from brokersim.host.blocking import Workers
from brokersim.host.observers import Observe, Observers
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import Message
from brokersim.reactor.actor import Timer
from brokersim.reactor.cost import Node
from brokersim.routing.attributes import Attributes
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.ports import Naming, Router
from brokersim.routing.sink import Sink


class SeenAttributes(Protocol):
    """A broker's attributes, as a module sees them."""

    def get(self, name: str) -> str | None:
        """The value, ``None`` if there is none."""

    def set(self, name: str, value: str) -> None:
        """Raises RequestError: ENOENT for no such name, EPERM if immutable, EINVAL for what it cannot be."""

    def remove(self, name: str) -> None:
        """Raises RequestError: ENOENT, EPERM."""


class Watching(Protocol):
    """Whoever has something outside the loop watched for it."""

    def start_task(self, fn: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Run ``await fn(*args)`` as a trio task that ends with it."""

    def occurrence(self, start: Callable[[Callable[[Any], None]], object]) -> Awaitable[Any]:
        """Await a callback."""

    def call_later(self, seconds: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call ``fn(*args)`` in ``seconds``, as a turn of its loop."""


class Surroundings(Protocol):
    """What a handle and its life ask of the instance they belong to."""

    #: Wall-clock time (s since the Unix epoch) at which the reactor's clock was 0.
    epoch: float
    seed: int
    identities: Naming
    conf: JsonObject
    #: The hook counters are emitted from unless told otherwise; ``None``: somebody else emits them.
    hook: str | None
    #: Where statistics go.
    sink: Sink
    #: Stacks for callbacks that may wait for answers.
    workers: Workers
    #: What modules leave to the next of their name on their rank: (rank, name) to it.
    kept: dict[tuple[int, str], Any]

    def node(self, rank: int) -> Node | None:
        """The cores of a rank, if virtual time charges for them."""

    def seconds(self, attribute: str, default: float) -> float:
        """A duration kept in an attribute; an unreadable one is the default."""

    def hold_clock(self) -> AbstractContextManager[None]:
        """Virtual time stands still inside: something real is being waited for."""

    def start_task(
        self, fn: Callable[[], Awaitable[None]], failed: Callable[[BaseException], object]
    ) -> Callable[[], object]:
        """Run a trio task; returns what cancels it. What it raises is given to ``failed``, inside the loop.

        Raises RequestError where there is no trio.
        """

    def watch_fd(
        self, who: Watching, fd: int, events: int, call: Callable[[int], object]
    ) -> Callable[[], object]:
        """Call ``call(revents)`` as a turn of ``who``'s loop while ``fd`` is ready; returns what stops that."""

    def watch_signal(self, who: Watching, number: int, call: Callable[[], object]) -> Callable[[], object]:
        """Call back as a turn of ``who``'s loop when the process gets a signal; returns what stops that."""

    def fault(self, error: BaseException) -> None:
        """A callback of no module raised: a bug of the program, which is told."""


class Told(Protocol):
    """Whom a program tells what it does that a module offers to its rank: rexec runs it, though it is no process."""

    def started(self) -> None:
        """It runs."""

    def output(self, stream: str, data: bytes) -> None:
        """It wrote whole lines to ``stdout`` or ``stderr``; nothing (``b""``) is the end of that stream."""

    def exited(self, status: int) -> None:
        """It is over, with this wait status; nothing is told any more."""


class Running(Protocol):
    """One run of a program."""

    def feed(self, data: bytes, is_end: bool) -> None:
        """Standard input."""

    def kill(self, signum: int) -> None:
        """A signal for it."""


#: Begins a run: its words, the first of them its name. Raises RequestError.
Program: TypeAlias = Callable[[Sequence[str], Told], Running]


class Home(Router, Protocol):
    """What a handle asks of its rank, or of what stands for one at the far end of a wire."""

    size: int
    instance: Surroundings

    @property
    def attributes(self) -> SeenAttributes:
        """Broker attributes, as they are on this rank."""

    @property
    def observers(self) -> Observers:
        """Who listens to observations on this rank."""

    @property
    def observe(self) -> Observe:
        """What a handle's ``observe`` is at this moment."""

    @property
    def above(self) -> int | None:
        """The rank of the parent, ``None`` on rank 0."""

    @property
    def below(self) -> tuple[int, ...]:
        """The ranks of the children, ascending."""

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """From now on answers and events reach it."""

    def drop_endpoint(self, endpoint: Endpoint) -> None:
        """It goes: its names, its subscriptions, the requests on their way to it, what it owed."""

    def add_service(self, name: str, endpoint: Endpoint) -> None:
        """Requests ``NAME.*`` go to it. Raises RequestError: EINVAL, EEXIST."""

    def drop_service(self, name: str, endpoint: Endpoint) -> None:
        """They do no more. Raises RequestError(ENOENT) if it does not serve the name."""

    def forget_way(self, topic: str) -> None:
        """A request of that topic came before its handler was there: where the next one goes is looked up anew."""

    def write_log(self, level: int, name: str, text: str) -> None:
        """Append a line to the log, in the name of ``name``."""

    def client(self, name: str, body: object = None, rank: int | None = None) -> Endpoint | None:
        """One more party, here or on another rank, as a client of the socket is; ``None`` if there is but one wire."""

    def offer(self, name: str, program: Program, endpoint: Endpoint) -> bool:
        """rexec runs commands called ``name`` by ``program`` while ``endpoint`` is there; False: not from here."""

    def path(self, request: Message) -> tuple[str, ...]:
        """The uuids a request came by, originator first, the broker's last."""


class LocalHome(Home, Protocol):
    """What the life of a module asks of a home in the broker's own process."""

    @property
    def attributes(self) -> Attributes:
        """As in `Home`; here they can be set."""

    #: What speaks for the broker: the loader's messages come from it.
    endpoint: Endpoint

    def stop_serving(self, endpoint: Endpoint) -> None:
        """It takes no new requests; those still queued are routed anew."""
