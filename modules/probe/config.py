"""Knows the configuration of the service: sinks, defaults, measurements by name; checked whole or not taken at all."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from brokersim.brokermod import check_nesting, files

from .plan import OFF, ON, Measurement, merged, to_measurement

#: Faults that are told in one answer.
FAULTS_MAX: Final = 20
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
    """Raises ValueError with the JSON pointer of what is wrong, and what would be right."""
    check_nesting(given, "a configuration")
    if not isinstance(given, Mapping):
        raise ValueError(f"a configuration is an object with probes, not {given!r:.60}")
    for key in given:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            raise ValueError(f"/{key} is no key{f'; is {near[0]} meant?' if near else ''}")
    if given.get("status", ON) not in (ON, OFF):
        raise ValueError(f"/status must be ON or OFF, not {given['status']!r:.40}")
    objects = {key: _object(given, key) for key in ("sinks", "probe_defaults", "probes", "labels")}
    defaults = objects["probe_defaults"]
    sinks = {name: _object(objects["sinks"], name, "/sinks") for name in objects["sinks"]}
    return Config(
        is_off=given.get("status") == OFF,
        sinks=sinks,
        defaults=dict(defaults),
        measurements=_measurements(objects["probes"], defaults, sinks, is_virtual),
        labels={key: str(value) for key, value in objects["labels"].items()},
    )


class Faults(ValueError):
    """All that is wrong with the measurements of a configuration."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:FAULTS_MAX]))
        self.faults = faults


def _measurements(
    probes: Mapping[str, Any], defaults: Mapping[str, Any], sinks: Mapping[str, Any], is_virtual: bool
) -> dict[str, Measurement]:
    """Raises Faults: whoever mends a file wants to know all of them at once."""
    found: dict[str, Measurement] = {}
    faults: list[str] = []
    for name, record in probes.items():
        try:
            if not isinstance(record, Mapping):
                raise ValueError(f"/probes/{name} must be an object, not {record!r:.60}")
            one = to_measurement(name, merged(defaults, record), is_virtual)
            check_sinks(one, sinks)
        except ValueError as error:
            faults.append(str(error))
        else:
            found[name] = one
    if not faults:
        check_labels(found)
        return found
    raise Faults(faults)


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
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
