"""Knows what a probe is and what it is given; not when it is asked, what its answer means, nor what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol

import attrs

from brokersim.brokermod import NODEID_ANY

from .procfs import ProcFS

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
STATE: Final = "state"
Value = float | int | str


@attrs.frozen(kw_only=True)
class Field:
    """A metric: its unit, kind, the bits of a counter, the name of OpenTelemetry, the event type of old.

    ``max_rate``: what a counter can grow by in a second, at most; a fall that would be more growth is a reset.
    """

    unit: str = "1"
    kind: str = GAUGE
    width: int = 64
    max_rate: float = math.inf
    otel: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    event_type: str = ""


@attrs.define(kw_only=True, eq=False, weakref_slot=False)
class Reading:
    """What one subject answered. ``ts`` (s since the epoch) only if the answer has a time of its own.

    ``fields`` are of metrics that only the answer knows, such as those of a plugin.
    """

    subject: str
    metrics: dict[str, Value]
    ts: float | None = None
    partial: tuple[str, ...] = ()
    text: str = ""
    identity: str = ""
    fields: Mapping[str, Field] = attrs.field(factory=dict)


class Junk(ValueError):
    """A probe answered what is no reading."""


_NO_CONFIG: Final[Mapping[str, Any]] = MappingProxyType({})


class Asks(Protocol):
    """How a probe reaches the broker; an instance's module and a command line each have one."""

    __slots__ = ()

    rank: int

    @property
    def parent(self) -> int | None:
        """The rank above in the tree, None on rank 0."""

    def call(self, topic: str, payload: Any = None, nodeid: int = NODEID_ANY) -> Awaitable[Any]:
        """The answer of a service. Raises RequestError."""

    def sleep(self, seconds: float) -> Awaitable[None]:
        """A delay."""

    def now(self) -> float:
        """Seconds of a clock that never steps."""

    def run(self, command: Any) -> Awaitable[Any]:
        """What a command answers."""

    def start(self, wish: Any) -> Any:
        """A program that lives on, and answers a line whenever it is asked. Raises ValueError where there is none."""

    def line(self, worker: Any) -> Awaitable[bytes]:
        """Its next line. Raises what became of it instead."""


class Context:
    """What a probe is opened with."""

    __slots__ = ("_procfs", "ask", "config")

    def __init__(
        self, *, ask: Asks, procfs: ProcFS | None = None, config: Mapping[str, Any] = _NO_CONFIG
    ) -> None:
        self.ask = ask
        self.config = config
        self._procfs = procfs

    @property
    def subject(self) -> str:
        """What a flat answer is about."""
        return f"node/{self.ask.rank}"

    @property
    def procfs(self) -> ProcFS:
        """The files of this machine, or of a recorded tree; what stays open of them is closed by `close`."""
        if self._procfs is None:
            self._procfs = ProcFS()
        return self._procfs

    def close(self) -> None:
        """Let go of files."""
        if self._procfs is not None:
            self._procfs.close()


class Probe:
    """One way to read something. It runs by itself and knows neither schedules nor where readings go."""

    # A probe that keeps nothing else needs no dictionary; any may.
    __slots__ = ("__dict__", "config", "context")

    #: What it says it is, for lists.
    summary: ClassVar[str] = ""
    fields: ClassVar[dict[str, Field]] = {}
    #: Configuration keys with what they are when not given; each stands for its type.
    options: ClassVar[dict[str, Any]] = {}
    #: Keys that must be given.
    required: ClassVar[tuple[str, ...]] = ()
    #: Its answers say what their metrics are; one that nobody declares is worth a warning.
    declares: ClassVar[bool] = False
    #: It reads this machine, which has no virtual time.
    reads_machine: ClassVar[bool] = True

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        """Why it cannot be read in a process of its own; empty if it can."""
        return ""

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Raises ValueError for a configuration that cannot be; unknown keys have been refused already."""

    #: Seconds that its next answer may take longer, as what it needs is only being started.
    starting: float = 0.0

    def open(self, context: Context) -> None:
        """Begin. Raises OSError, ValueError: then it is not begun."""
        self.context = context
        self.config = {**self.options, **context.config} if context.config else self.options

    def read(self) -> Any:
        """An answer, or a coroutine of one. Raises whatever goes wrong."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""
