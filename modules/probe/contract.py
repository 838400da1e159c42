"""Knows what a probe is, what it is given and what it may answer; not when it is asked, nor what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import attrs

from brokersim.brokermod import NODEID_ANY, quoted

from .procfs import ProcFS

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
STATE: Final = "state"
Value = float | int | str
#: Keys of an answer that are no metrics: its time, what could not be read, a text for people, who counts.
RESERVED: Final = frozenset(("ts", "partial", "text", "identity"))
#: Lists of lists of answers: a transform may give a list, more is a mistake.
DEPTH_MAX: Final = 4
#: A clock's 64 bits of nanoseconds end here, in seconds: the year 2262.
TS_MAX: Final = 2**63 / 1e9
#: Integers beyond are kept as floats: what samples go to counts in 64 bits.
INT_MAX: Final = 2**64


@attrs.frozen(kw_only=True)
class Field:
    """A metric: its unit, kind, the bits of a counter, the name of OpenTelemetry, the event type of old."""

    unit: str = "1"
    kind: str = GAUGE
    width: int = 64
    otel: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    event_type: str = ""


@attrs.define(kw_only=True, eq=False)
class Reading:
    """What one subject answered. ``ts`` (s since the epoch) only if the answer has a time of its own."""

    subject: str
    metrics: dict[str, Value]
    ts: float | None = None
    partial: tuple[str, ...] = ()
    text: str = ""
    identity: str = ""


class Junk(ValueError):
    """A probe answered what is no reading."""


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


@attrs.define(eq=False, kw_only=True)
class Context:
    """What a probe is opened with."""

    ask: Asks
    procfs: ProcFS = attrs.field(factory=ProcFS)
    config: dict[str, Any] = attrs.field(factory=dict)

    @property
    def subject(self) -> str:
        """What a flat answer is about."""
        return f"node/{self.ask.rank}"


class Probe:
    """One way to read something. It runs by itself and knows neither schedules nor where readings go."""

    #: What it says it is, for lists.
    summary: ClassVar[str] = ""
    fields: ClassVar[dict[str, Field]] = {}
    #: Configuration keys with what they are when not given; each stands for its type.
    options: ClassVar[dict[str, Any]] = {}
    #: Keys that must be given.
    required: ClassVar[tuple[str, ...]] = ()
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
        self.config = {**self.options, **context.config}

    def read(self) -> Any:
        """An answer, or a coroutine of one. Raises whatever goes wrong."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""


def readings(answer: Any, subject: str, depth: int = 0) -> list[Reading]:
    """What a probe answered, subject by subject. Raises Junk for what is no answer.

    ``depth``: it stands in so many lists.
    """
    if answer is None:
        return []
    if isinstance(answer, dict):
        return _of_mapping(answer, subject)
    if depth > DEPTH_MAX:
        raise Junk(f"an answer is in at most {DEPTH_MAX} lists in each other")
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        return [one for part in answer for one in readings(part, subject, depth + 1)]
    raise Junk(
        f"an answer is a dict of metrics or of subjects, or a list of such, not {type(answer).__name__}"
    )


def _of_mapping(answer: Mapping[Any, Any], subject: str) -> list[Reading]:
    is_nested = [isinstance(value, dict) for value in answer.values()]
    if not any(is_nested):
        return _one(answer, subject)
    if not all(is_nested):
        raise Junk("an answer has either metrics or subjects, not both")
    return [one for name, metrics in answer.items() for one in _one(metrics, str(name))]


def _one(answer: Mapping[Any, Any], subject: str) -> list[Reading]:
    metrics: dict[str, Value] = {}
    more = False
    for name, value in answer.items():
        if name in RESERVED:
            more = True
        elif type(name) is str and (
            math.isfinite(value)
            if type(value) is float
            else type(value) is int and -INT_MAX < value < INT_MAX
        ):
            metrics[name] = value
        else:
            other = _value(name, value)
            if other is not None:
                metrics[str(name)] = other
    if more:
        return _with_more(answer, subject, metrics)
    return [Reading(subject=subject, metrics=metrics)] if metrics else []


def _with_more(answer: Mapping[Any, Any], subject: str, metrics: dict[str, Value]) -> list[Reading]:
    ts, partial = answer.get("ts"), answer.get("partial") or ()
    if ts is not None and (type(ts) not in (int, float) or not -TS_MAX < ts < TS_MAX):
        raise Junk(f"ts is seconds since the epoch, not {quoted(ts)}")
    if not isinstance(partial, list | tuple) or not all(isinstance(name, str) for name in partial):
        raise Junk(f"partial is a list of names, not {quoted(partial)}")
    if not metrics and not partial:
        return []
    return [
        Reading(
            subject=subject,
            metrics=metrics,
            ts=None if ts is None else float(ts),
            partial=tuple(partial),
            text=_text(answer, "text"),
            identity=_text(answer, "identity"),
        )
    ]


def _text(answer: Mapping[Any, Any], key: str) -> str:
    value = answer.get(key) or ""
    if not isinstance(value, str | int | float):
        raise Junk(f"{key} is a text, not {quoted(value)}")
    return str(value)


def _value(name: Any, value: Any) -> Value | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value) if -INT_MAX < value < INT_MAX else _beyond(name, value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise Junk(f"{quoted(name)} is {quoted(value)}: a value is a finite number, a text, or nothing")


def _beyond(name: Any, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Junk(
            f"{quoted(name)} is a number of {value.bit_length()} bits: too large to count with"
        ) from None
