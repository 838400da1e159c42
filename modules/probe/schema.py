"""Knows what a configuration may be, as JSON Schema (2020-12): made of what it is checked by, so that both say one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .overlap import POLICIES
from .plan import DEFAULTS, INLINE, OFF, ON, PROCESS
from .probes import PROBES
from .registered.layers import MODES
from .sending.bounds import MAX_BYTES, MAX_SAMPLES
from .sending.reporting import COUNTERS
from .sending.reporting import DEFAULTS as REPORTING
from .sinks import SINKS

Schema = dict[str, Any]
_TIME: Final[Schema] = {"type": ["number", "string"]}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
#: What a value may be where its default says the type.
_KINDS: Final[dict[type, list[str]]] = {
    bool: ["boolean"], int: ["integer"], float: ["number"], str: ["string", "number"], list: ["array", "string"],
    dict: ["object"],
}  # fmt: skip
#: What is more than the type of its default.
_SAID: Final[dict[str, Schema]] = {
    "probe": {"enum": sorted(PROBES)},
    "status": {"enum": [ON, OFF]},
    "schedule": {"type": ["object", "string", "number"]},
    "timeout": {"type": ["number", "string", "null"]},
    "jitter": _TIME,
    "overlap": {"enum": list(POLICIES)},
    "isolation": {"enum": [INLINE, PROCESS]},
    "restart": {"enum": ["on-failure", "never"]},
    "labels": {"type": "object"},
    "resources": {
        "type": ["array", "string"],
        "items": {
            "type": "object", "required": ["ref"],
            "properties": {
                "ref": {"type": "string"},
                "usage": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1.0},
            },
        },
    },
    "reporting": {
        "oneOf": [
            {"$ref": "#/$defs/reporting"},
            {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/reporting"}},
        ]
    },
}  # fmt: skip
_REPORTED: Final[dict[str, Schema]] = {
    "sinks": {"type": ["array", "string"], "items": {"type": "string"}},
    "every_n": {"type": "integer", "minimum": 1},
    "max_age": {"type": ["number", "string", "null"]},
    "max_bytes": {"type": "integer", "minimum": 1},
    "on_change": {"type": ["number", "string", "boolean", "null"]},
    "counters": {"enum": list(COUNTERS)},
}
_QUEUE: Final[Schema] = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "max_samples": {"type": "integer", "minimum": 1, "default": MAX_SAMPLES},
        "max_bytes": {"type": "integer", "minimum": 1, "default": MAX_BYTES},
        "drop": {"enum": ["oldest", "newest"], "default": "oldest"},
        "spool": {"type": "string"}, "spool_max": {"type": "integer", "minimum": 1},
    },
}  # fmt: skip


def schema() -> Schema:
    """Of a whole configuration; a probe's and a sink's own keys are in it, with what they are when not given."""
    measurement = _measurement()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "what the module probe measures", "type": "object", "additionalProperties": False,
        "properties": {
            "name": {"type": "string"}, "status": {"enum": [ON, OFF], "default": ON},
            "ttl": {"type": "number", "exclusiveMinimum": 0, "default": 600.0},
            "merge": {"enum": list(MODES), "default": MODES[0]},
            "sinks": {"type": "object", "additionalProperties": {"$ref": "#/$defs/sink"}},
            "probe_defaults": {"$ref": "#/$defs/measurement"},
            "probes": {
                "type": "object",
                "additionalProperties": {"allOf": [{"$ref": "#/$defs/measurement"}, {"$ref": "#/$defs/configs"}]},
            },
            "labels": _TEXTS,
        },
        "$defs": {
            "measurement": measurement, "configs": {"allOf": [_config(name) for name in sorted(PROBES)]},
            "reporting": _object({key: _of(value, _REPORTED.get(key)) for key, value in REPORTING.items()}),
            "sink": {
                "type": "object", "properties": {"queue": _QUEUE}, "allOf": [_sink(name) for name in sorted(SINKS)]
            },
        },
    }  # fmt: skip


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _of(default: Any, said: Schema | None) -> Schema:
    """What may stand for a default: of its type, unless more is said."""
    found = said or ({"type": _KINDS[type(default)]} if type(default) in _KINDS else {})
    return found if default is None or "$ref" in found or "oneOf" in found else {**found, "default": default}


def _measurement() -> Schema:
    found = _object({key: _of(value, _SAID.get(key)) for key, value in DEFAULTS.items()})
    del found["properties"]["probe"]["default"]
    return found


def _config(name: str) -> Schema:
    """What the keys of one probe may be, where it is the one that is read."""
    config = _object({key: _of(value, None) for key, value in PROBES[name].options.items()})
    return {
        "if": {"properties": {"probe": {"const": name}}, "required": ["probe"]},
        "then": {"properties": {"config": config}},
    }


def _sink(kind: str) -> Schema:
    """The same of a sink, where it says its type."""
    own = {key: _of(value, None) for key, value in SINKS[kind].options.items()}
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": _object({"type": {}, "queue": {}, **own}),
    }
