"""Knows eventlogs (RFC 18): one JSON object a line; not which events exist or where a log is kept."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from brokersim.protocol.decoded import JsonObject

#: ``{"timestamp": seconds since the epoch, "name": str[, "context": object]}``
Event: TypeAlias = JsonObject

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def make_event(timestamp: float, name: str, context: JsonObject | None = None) -> Event:
    """An event; the context is left out when there is none, as RFC 18 allows."""
    if context is None:
        return {"timestamp": timestamp, "name": name}
    return {"timestamp": timestamp, "name": name, "context": context}


def encode_event(event: Event) -> bytes:
    """The event as its line, newline included."""
    return _encode(event) + b"\n"


def decode_event(line: bytes | str) -> Event:
    """The event of one line, with or without its newline. Raises ValueError that says what is wrong."""
    try:
        event = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"eventlog line is not JSON: {error}") from None
    if not isinstance(event, dict):
        raise ValueError("eventlog line must be a JSON object")
    timestamp, name, context = event.get("timestamp"), event.get("name"), event.get("context", {})
    if not isinstance(timestamp, (int, float)) or isinstance(timestamp, bool) or timestamp <= 0:
        raise ValueError("eventlog line: timestamp must be a positive number")
    if not isinstance(name, str) or not name:
        raise ValueError("eventlog line: name must be a string of one character or more")
    if not isinstance(context, dict) or len(event) != 2 + ("context" in event):
        raise ValueError("eventlog line: the rest must be one object called context")
    return event


def split_lines(log: bytes, start: int = 0) -> list[str]:
    """The whole lines from byte ``start`` on, newlines kept; a half line at the end is left for later."""
    # Not by str.splitlines, which would also cut at \x85 and its like: they are part of a line here.
    return [f"{line}\n" for line in log[start : whole_size(log)].decode(errors="replace").split("\n")[:-1]]


def whole_size(log: bytes) -> int:
    """The size of the whole lines of a log, in bytes."""
    return log.rfind(b"\n") + 1


def decode_log(log: bytes) -> list[Event]:
    """All events of a log. Raises ValueError as :func:`decode_event` does."""
    return [decode_event(line) for line in split_lines(log)]
