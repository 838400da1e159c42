"""Knows what a record of each collection may be, as JSON Schema (2020-12), and what is wrong with one.

The few words of JSON Schema that the schemas here use, so that each fault is told by its pointer, and all at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = dict[str, Any]
#: A record is at most so large, as JSON; what measures is described, not stored.
RECORD_MAX: Final = 256 << 10
TTL: Final = 600.0

_TEXT: Final[Schema] = {"type": "string"}
_OBJECT: Final[Schema] = {"type": "object"}
_OBJECTS: Final[Schema] = {"type": "object", "additionalProperties": _OBJECT}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_STATUS: Final[Schema] = {"enum": ["ON", "OFF"], "default": "ON"}
_USE: Final[Schema] = {
    "type": "object", "required": ["ref"], "additionalProperties": False,
    "properties": {"ref": _TEXT, "usage": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1.0}},
}  # fmt: skip


def _schema(title: str, required: list[str], properties: Schema, is_open: bool = False) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "type": "object",
        "required": required, "properties": {"$schema": _TEXT, **properties}, "additionalProperties": is_open,
    }  # fmt: skip


MERGE: Final = ("registry-wins", "file-wins", "file-only")
SCHEMAS: Final[dict[str, Schema]] = {
    "nodes": _schema(
        "a machine that an instance has a rank on", [],
        {"name": _TEXT, "rank": {"type": "integer", "minimum": 0}, "labels": _TEXTS}, is_open=True,
    ),
    "services": _schema(
        "what is wanted of the probe module of a rank", ["name"],
        {
            "name": _TEXT, "node": _TEXT, "status": _STATUS, "merge": {"enum": list(MERGE), "default": MERGE[0]},
            "ttl": {"type": "number", "exclusiveMinimum": 0, "default": TTL}, "sinks": _OBJECTS,
            "probe_defaults": _OBJECT, "probes": _OBJECTS, "labels": _TEXTS,
        },
    ),
    "measurements": _schema(
        "a probe, a schedule and where its samples go", ["probe"],
        {
            "name": _TEXT, "service": _TEXT, "probe": _TEXT, "status": _STATUS, "config": _OBJECT,
            "schedule": {"type": ["object", "string", "number"]}, "timeout": {"type": ["number", "string", "null"]},
            "overlap": {"enum": ["skip", "delay", "catch-up"]}, "jitter": {"type": ["number", "string"]},
            "isolation": {"enum": ["inline", "process"]}, "restart": {"enum": ["on-failure", "never"]},
            "reporting": _OBJECT, "resources": {"type": "array", "items": _USE}, "labels": _TEXTS,
            "hold_clock": {"type": "boolean"},
        },
    ),
    "metadata": _schema(
        "a series: what is measured of what", ["metric", "subject"],
        {"metric": _TEXT, "subject": _TEXT, "unit": _TEXT, "measurement": _TEXT, "attributes": _TEXTS,
         "kind": {"enum": ["gauge", "counter", "state"]}},
        is_open=True,
    ),
}  # fmt: skip
COLLECTIONS: Final = tuple(SCHEMAS)

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "object": (dict,), "array": (list,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def faults(value: Any, schema: Schema, pointer: str = "") -> Iterator[str]:
    """What is wrong with a value, each fault a sentence that begins with its JSON pointer."""
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{pointer or '/'} must be {' or '.join(kinds)}, not {value!r:.40}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{pointer or '/'} must be {' or '.join(map(str, schema['enum']))}, not {value!r:.40}"
    elif isinstance(value, dict):
        yield from _of_object(value, schema, pointer)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), f"{pointer}/{number}")
    elif isinstance(value, int | float):
        yield from _of_number(value, schema, pointer)


def _is(value: Any, kind: str) -> bool:
    # True is an int in Python, and no number in JSON.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_object(value: Mapping[str, Any], schema: Schema, pointer: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{pointer}/{key} is missing"
    for key, inner in value.items():
        where = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if key in known:
            yield from faults(inner, known[key], where)
        elif schema.get("additionalProperties") is False:
            near = difflib.get_close_matches(key, known, n=1)
            yield f"{where} is no key{f' (is {near[0]} meant?)' if near else ''}"
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from faults(inner, schema["additionalProperties"], where)


def _of_number(value: float, schema: Schema, pointer: str) -> Iterator[str]:
    least, above, most = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if least is not None and value < least:
        yield f"{pointer} must be {least} or more, not {value!r:.40}"
    if above is not None and value <= above:
        yield f"{pointer} must be above {above}, not {value!r:.40}"
    if most is not None and value > most:
        yield f"{pointer} must be {most} or less, not {value!r:.40}"
