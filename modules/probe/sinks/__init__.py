"""Knows which sinks there are, and how one is made of its configuration; not when anything is sent."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from brokersim.brokermod import Handle

from ..faults import Gathered
from ..sending.bounds import MAX_BYTES, MAX_SAMPLES, Bounds
from ..sending.spool import SPOOL_MAX
from .base import Down, Partly, Refused, Sink
from .lines import LineFile
from .metrics import Metrics
from .otlp import Otlp
from .prometheus import Prometheus
from .registry import Registry
from .rundb import RunDatabaseSink
from .statsd import Statsd

__all__ = ["SINKS", "Down", "Partly", "Refused", "Sink", "check_sink", "to_sink"]

SINKS: Final[dict[str, type[Sink]]] = {
    "lines": LineFile,
    "metrics": Metrics,
    "otlp": Otlp,
    "prometheus": Prometheus,
    "registry": Registry,
    "rundb": RunDatabaseSink,
    "statsd": Statsd,
}
_QUEUE: Final = {"max_samples": int, "max_bytes": int, "drop": str, "spool": str, "spool_max": int}


def check_sink(name: str, record: Mapping[str, Any]) -> None:
    """Could a sink be of this record, on any machine? Raises Faults, each with the place and what would be right."""
    given = dict(record)
    kind = given.pop("type", name)
    found = Gathered()
    found.of(to_bounds, name, given.pop("queue", {}), 0)
    cls = found.of(_kind, name, kind)
    for key in given if cls is not None else ():
        found.of(_check_option, name, kind, key, given[key])
    if not found.faults:
        found.of(_check_whole, name, cls, given)
    found.tell()


def to_sink(name: str, record: Mapping[str, Any], handle: Handle) -> tuple[Sink, Bounds]:
    """A sink, and what its queue is to be. Raises ValueError with the place and what would be right, OSError if it
    cannot begin."""
    check_sink(name, record)
    given = dict(record)
    cls = _kind(name, given.pop("type", name))
    bounds = to_bounds(name, given.pop("queue", {}), handle.rank)
    try:
        return cls(handle, {**cls.options, **given}), bounds
    except (ValueError, Down) as error:
        raise ValueError(f"/sinks/{name}: {error}") from None


def _kind(name: str, kind: Any) -> type[Sink]:
    if not isinstance(kind, str) or kind not in SINKS:
        near = difflib.get_close_matches(str(kind), SINKS, n=1)
        hint = f"; is {near[0]} meant?" if near else f"; there are {', '.join(SINKS)}"
        raise ValueError(f"/sinks/{name}: no sink {kind!r:.40}{hint}")
    return SINKS[kind]


def _check_option(name: str, kind: str, key: str, value: Any) -> None:
    options = SINKS[kind].options
    if key not in options:
        raise ValueError(f"/sinks/{name}: {key} is no key of {kind}; it has {', '.join(options) or 'none'}")
    if type(value) is not type(options[key]):
        raise ValueError(f"/sinks/{name}/{key} must be a {type(options[key]).__name__}, not {value!r:.40}")


def _check_whole(name: str, cls: type[Sink], given: Mapping[str, Any]) -> None:
    try:
        cls.check({**cls.options, **given})
    except ValueError as error:
        raise ValueError(f"/sinks/{name}: {error}") from None


def to_bounds(name: str, given: Any, rank: int) -> Bounds:
    """What a queue is to be. Raises ValueError."""
    if not isinstance(given, Mapping) or not set(given) <= set(_QUEUE):
        raise ValueError(f"/sinks/{name}/queue has {', '.join(_QUEUE)}, not {given!r:.60}")
    for key, kind in _QUEUE.items():
        if key in given and (type(given[key]) is not kind or (kind is int and given[key] < 1)):
            raise ValueError(
                f"/sinks/{name}/queue/{key} must be a {kind.__name__} above 0, not {given[key]!r:.40}"
            )
    if given.get("drop", "oldest") not in ("oldest", "newest"):
        raise ValueError(f"/sinks/{name}/queue/drop must be oldest or newest, not {given['drop']!r:.40}")
    return Bounds(
        spool=given.get("spool", "").replace("{rank}", str(rank)),
        spool_max=given.get("spool_max", SPOOL_MAX),
        max_samples=given.get("max_samples", MAX_SAMPLES),
        max_bytes=given.get("max_bytes", MAX_BYTES),
        drop_newest=given.get("drop") == "newest",
    )
