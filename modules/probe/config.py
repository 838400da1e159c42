"""Knows the configuration of the service: sinks, defaults, measurements by name; checked whole or not taken at all."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from brokersim.brokermod import check_nesting, files

from .faults import Gathered
from .plan import OFF, ON, Measurement, merged, to_measurement
from .sending.reporting import check_known
from .sinks import check_sink

_KEYS: Final = ("name", "status", "ttl", "merge", "sinks", "probe_defaults", "probes", "labels")


@attrs.frozen(kw_only=True)
class Config:
    """What is wanted. ``sinks`` are records by name; ``statsd`` and ``metrics`` need none."""

    is_off: bool = False
    sinks: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    defaults: dict[str, Any] = attrs.field(factory=dict)
    measurements: dict[str, Measurement] = attrs.field(factory=dict)
    labels: dict[str, str] = attrs.field(factory=dict)


def to_config(given: Any, is_virtual: bool = False) -> Config:
    """Raises Faults, each with the JSON pointer of what is wrong and what would be right.

    Whoever mends a file wants to know all of them at once.
    """
    check_nesting(given, "a configuration")
    if not isinstance(given, Mapping):
        raise ValueError(f"a configuration is an object with probes, not {given!r:.60}")
    found = Gathered()
    found.of(check_known, given, _KEYS, "/")
    found.of(_check_status, given)
    objects = {
        key: found.of(_object, given, key, otherwise={})
        for key in ("sinks", "probe_defaults", "probes", "labels")
    }
    sinks = {name: found.of(_sink, name, record) for name, record in objects["sinks"].items()}
    defaults = objects["probe_defaults"]
    read = [
        found.of(_measurement, name, record, defaults, sinks, is_virtual)
        for name, record in objects["probes"].items()
    ]
    measurements = {one.name: one for one in read if one is not None}
    found.of(check_labels, measurements)
    found.tell()
    return Config(
        is_off=given.get("status") == OFF,
        sinks=sinks,
        defaults=dict(defaults),
        measurements=measurements,
        labels={key: str(value) for key, value in objects["labels"].items()},
    )


def _check_status(given: Mapping[str, Any]) -> None:
    if given.get("status", ON) not in (ON, OFF):
        raise ValueError(f"/status must be ON or OFF, not {given['status']!r:.40}")


def _sink(name: str, record: Any) -> dict[str, Any]:
    """A sink's record. Raises ValueError."""
    found = _object({name: record}, name, "/sinks")
    check_sink(name, found)
    return found


def _measurement(
    name: str, record: Any, defaults: Mapping[str, Any], sinks: Mapping[str, Any], is_virtual: bool
) -> Measurement:
    if not isinstance(record, Mapping):
        raise ValueError(f"/probes/{name} must be an object, not {record!r:.60}")
    one = to_measurement(name, merged(defaults, record), is_virtual)
    check_sinks(one, sinks)
    return one


def check_labels(measurements: Mapping[str, Measurement]) -> None:
    """Raises ValueError for two measurements that statsd could not tell apart: their series would be one."""
    taken: dict[str, str] = {}
    for name, one in measurements.items():
        other = taken.setdefault(one.label, name)
        if other != name:
            raise ValueError(
                f"/probes/{name}: its samples and those of {other} would both be named {one.label}.*"
            )


#: Sinks that need no configuration.
PLAIN: Final = ("statsd", "metrics", "registry")


def check_sinks(measurement: Measurement, sinks: Mapping[str, Any]) -> None:
    """Raises ValueError for a sink that is not configured."""
    for name in measurement.reporting.all_sinks:
        if name not in sinks and name not in PLAIN:
            known = ", ".join(dict.fromkeys([*PLAIN, *sinks]))
            raise ValueError(
                f"/probes/{measurement.name}/reporting/sinks: no sink {name!r:.40}; there is {known}"
            )


def _object(given: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}/{key} must be an object, not {value!r:.60}")
    return dict(value)


def read_file(path: Path) -> Any:
    """A configuration file: TOML, or JSON by its name. Raises ValueError that names the file and the place."""
    try:
        data = files.read_bytes(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    try:
        return msgspec.json.decode(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
