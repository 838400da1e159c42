"""Knows what a measurement is meant to be, by its record and its two hashes; not whether it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from sys import intern
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs
import msgspec

from brokersim.brokermod import blobref, schedules

from .faults import Faults, Gathered, faults_of
from .overlap import POLICIES, SKIP
from .probes import checked, find
from .sending.reporting import Reporting, check_known, to_reporting, to_seconds

ON: Final = "ON"
OFF: Final = "OFF"
#: Where a probe is read: in the loop, or in a process that lives as long as the measurement.
INLINE: Final = "inline"
PROCESS: Final = "process"
#: Keys of a record that are written by whoever keeps it, not by who plans.
SERVER_KEYS: Final = ("id", "ts", "version", "selfRef", "status", "state", "hash")
#: Seconds a read may take unless the schedule is closer.
TIMEOUT: Final = 10.0

DEFAULTS: Final[dict[str, Any]] = {
    "probe": "", "status": ON, "config": {}, "schedule": {"type": "every", "params": {"every": 2}}, "timeout": None,
    "overlap": SKIP, "jitter": 0.0, "isolation": INLINE, "restart": "on-failure", "reporting": {}, "resources": [],
    "labels": {}, "hold_clock": False,
}  # fmt: skip
#: What makes it another measurement; the rest can change while it runs.
_IDENTITY: Final = ("probe", "config", "isolation", "resources", "hold_clock")
_PLAN: Final = ("schedule", "reporting", "timeout", "labels", "overlap", "jitter", "restart")
_CHOICES: Final = {
    "overlap": POLICIES,
    "restart": ("on-failure", "never"),
    "status": (ON, OFF),
    "isolation": (INLINE, PROCESS),
}
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]")
_NO_CONFIG: Final[Mapping[str, Any]] = MappingProxyType({})
Frozen = TypeVar("Frozen", schedules.Schedule, Reporting, bytes)


@attrs.frozen(kw_only=True, eq=False, weakref_slot=False)
class Measurement:
    """A probe, a schedule and reporting under a name; ``record`` is what it was made of."""

    name: str
    #: The name as statsd can take it.
    label: str
    probe: str
    config: Mapping[str, Any]
    schedule: schedules.Schedule
    timeout: float
    overlap: str
    jitter: float
    restart: str
    reporting: Reporting
    hold_clock: bool
    is_isolated: bool
    status: str
    #: Its record as JSON, a tenth of what it takes as objects.
    written: bytes
    identity: str
    plan: str

    @property
    def record(self) -> dict[str, Any]:
        """What it was made of."""
        return msgspec.json.decode(self.written, type=dict[str, Any])

    @property
    def is_process(self) -> bool:
        """Is it read in a process that lives as long as it does?"""
        return self.is_isolated or self.probe == "execd"


def part(text: str) -> str:
    """A part of a statsd name: whatever could break a line or a part becomes ``_``."""
    return _FOREIGN.sub("_", text)


def canonical(value: Any) -> bytes:
    """The JSON that hashes are of: sorted keys, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def content_hash(value: Any) -> str:
    """A blobref of it, SHA-1 whatever the content service uses."""
    return blobref.blobref(canonical(value))


def merged(weak: Any, strong: Any) -> Any:
    """``strong`` over ``weak``: objects by key, null takes away, everything else is replaced whole. Both are left.

    Recursion is as deep as they nest: whoever has them from elsewhere checks that first.
    An object of another ``type`` is another thing: the parameters of one schedule mean nothing to the next.
    """
    if not isinstance(weak, Mapping) or not isinstance(strong, Mapping):
        return _copy(strong)
    if "type" in strong and weak.get("type", strong["type"]) != strong["type"]:
        return _copy(strong)
    result = {key: _copy(value) for key, value in weak.items() if key not in strong}
    for key, value in strong.items():
        if value is not None:
            result[key] = merged(weak.get(key), value)
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(one) for key, one in value.items() if one is not None}
    return [_copy(one) for one in value] if isinstance(value, list | tuple) else value


def to_measurement(name: str, record: Mapping[str, Any], is_virtual: bool = False) -> Measurement:
    """From a record of the configuration. Raises Faults, each with the place and what would be right."""
    try:
        return _measurement(name, record, is_virtual)
    except ValueError as error:
        raise Faults([placed(f"/probes/{name}", one) for one in faults_of(error)]) from None


#: How a fault begins that says which key it is about, and what it begins with where that is told in words.
_OF_A_KEY: Final = re.compile(r"\S+ (?:must |is no key)")
_PARTS: Final = (
    ("schedule ", "schedule"),
    ("no schedule", "schedule"),
    ("no probe ", "probe"),
    ("probe ", "config"),
)


def placed(pointer: str, text: str) -> str:
    """What is wrong with a record, behind the JSON pointer of what it is wrong with."""
    if _OF_A_KEY.match(text):
        return f"{pointer}/{text}"
    if " reads this machine" in text:
        return f"{pointer}: {text}"
    key = next((key for begin, key in _PARTS if text.startswith(begin)), "")
    return f"{pointer}/{key}: {text}" if key else f"{pointer}: {text}"


def _measurement(name: str, record: Mapping[str, Any], is_virtual: bool) -> Measurement:
    given = {key: value for key, value in record.items() if key not in SERVER_KEYS or key == "status"}
    found = Gathered()
    found.of(check_known, given, DEFAULTS, "")
    full = {**DEFAULTS, **_copy(given)}
    config = found.of(_read_by, full, is_virtual)
    for key, known in _CHOICES.items():
        found.of(_choice, full, key, known)
    if not isinstance(full["labels"], Mapping):
        found.faults.append(f"labels must be an object, not {full['labels']!r:.40}")
    schedule = found.of(_scheduled, full)
    timeout = found.of(to_seconds, full.get("timeout"), "timeout")
    jitter = found.of(to_seconds, full["jitter"], "jitter") or 0.0
    reporting = found.of(to_reporting, full["reporting"])
    found.tell()
    return Measurement(
        name=name,
        label=part(name),
        probe=full["probe"],
        config=config or _NO_CONFIG,
        schedule=_shared(schedule),
        timeout=min(getattr(schedule, "every", TIMEOUT), TIMEOUT) if timeout is None else timeout,
        overlap=full["overlap"],
        jitter=jitter,
        restart=full["restart"],
        reporting=_shared(reporting),
        hold_clock=bool(full["hold_clock"]),
        is_isolated=full["isolation"] == PROCESS,
        status=full["status"],
        written=_shared(msgspec.json.encode(_copy(given))),
        identity=intern(content_hash({key: full.get(key) for key in _IDENTITY})),
        plan=intern(content_hash({key: full.get(key) for key in _PLAN})),
    )


def _read_by(full: Mapping[str, Any], is_virtual: bool) -> dict[str, Any]:
    """The configuration of the probe that is read. Raises ValueError."""
    probe = find(str(full["probe"]))
    config = checked(full["probe"], full.get("config") or {})
    if full["isolation"] == PROCESS and (why := probe.inline_only(config)):
        raise ValueError(f"isolation must be {INLINE} for probe {full['probe']!r}: {why}")
    is_real = probe.reads_machine or full["isolation"] == PROCESS
    if is_virtual and is_real and not full["hold_clock"]:
        text = "reads this machine, which has no virtual time; use replay, or hold_clock: true"
        raise ValueError(f"probe {full['probe']!r} {text}")
    return config


@lru_cache(maxsize=1024)
def _shared(value: Frozen) -> Frozen:
    """The value that is equal to it and was there first: of a thousand measurements few have a plan of their own."""
    return value


def _scheduled(full: Mapping[str, Any]) -> schedules.Schedule:
    """A schedule that avoids others has what it uses from itself, or from its measurement."""
    schedule = schedules.to_schedule(full["schedule"])
    if isinstance(schedule, schedules.Avoid):
        if not schedule.resources:
            schedule = attrs.evolve(schedule, resources=full["resources"])
        if not schedule.resources:
            raise ValueError(
                "schedule avoid needs resources, such as disk0: with whom else would it collide?"
            )
        if full["jitter"]:
            raise ValueError("jitter would move a measurement out of the slots that it reserves")
    return schedule


def _choice(full: Mapping[str, Any], key: str, known: tuple[str, ...]) -> None:
    if full[key] not in known:
        raise ValueError(f"{key} must be {' or '.join(known)}, not {full[key]!r:.40}")
