"""Knows how Flux's bindings turn Python values into payloads and back: always a copy, never a shared object."""

from __future__ import annotations

import json


def to_data(payload: object) -> object:
    """What the wire would carry of a value: None, bytes as they are, text, or an object of its own.

    Text that is a JSON object becomes that object, which is what it is to whoever receives it. Raises TypeError
    for what JSON cannot carry.
    """
    if payload is None or isinstance(payload, bytes):
        return payload
    text = payload if isinstance(payload, str) else json.dumps(payload)
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def to_text(data: object) -> str | None:
    """A payload as JSON text; None if there is none."""
    if data is None or isinstance(data, str):
        return data
    if isinstance(data, bytes):
        return data.rstrip(b"\0").decode()
    return json.dumps(data)
