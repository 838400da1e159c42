"""Knows what an entry does when it is due: a shell command, an event, a request; not how that is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

EVENT_PREFIX: Final = "event:"


@attrs.frozen(kw_only=True)
class ShellCommand:
    """Run ``text`` by ``/bin/sh -c``."""

    text: str
    cwd: str | None = None
    environment: dict[str, str] | None = None


@attrs.frozen(kw_only=True)
class Publish:
    """Publish an event."""

    topic: str
    payload: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Ask:
    """Send a request; an error response is a failure."""

    topic: str
    payload: dict[str, Any] | None = None


Action = ShellCommand | Publish | Ask


def to_action(
    command: str, message: Mapping[str, Any] | None, cwd: str | None, environment: dict[str, str] | None
) -> Action:
    """What an entry does. Raises ValueError that says what would be right.

    ``event:TOPIC [JSON]`` as command publishes; ``message`` ``{"topic","payload"?,"type"?: "event"|"request"}``
    sends that message (a request unless it says event) and leaves the command as a remark. Both are ours.
    """
    if message is not None:
        return _message(message)
    if command.startswith(EVENT_PREFIX):
        topic, _, text = command.removeprefix(EVENT_PREFIX).strip().partition(" ")
        return Publish(topic=_topic(topic), payload=_json(text))
    if not command.strip() or "\0" in command:
        raise ValueError("command must be a shell command, event:TOPIC [JSON], or come with args.message")
    if cwd is not None and "\0" in cwd:
        raise ValueError("cwd must have no NUL in it")
    for name, text in (environment or {}).items():
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(f"environ: {name!r:.40} is no variable: no NUL, and no = in its name")
    return ShellCommand(text=command, cwd=cwd, environment=environment)


def _message(message: Mapping[str, Any]) -> Action:
    payload = message.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise ValueError("message: payload must be a JSON object")
    kinds: dict[Any, type[Publish] | type[Ask]] = {"event": Publish, "request": Ask}
    kind = kinds.get(message.get("type", "request"))
    if kind is None:
        raise ValueError(f"message: type must be event or request, not {message.get('type')!r:.40}")
    return kind(topic=_topic(message.get("topic")), payload=payload)


def _topic(topic: Any) -> str:
    if not isinstance(topic, str) or not topic or any(char.isspace() or char == "\0" for char in topic):
        raise ValueError(f"{topic!r:.40} is no topic; give one such as my.topic")
    return topic


def _json(text: str) -> dict[str, Any] | None:
    if not text.strip():
        return None
    try:
        payload = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"event payload is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise ValueError("event payload must be a JSON object")
    return payload
