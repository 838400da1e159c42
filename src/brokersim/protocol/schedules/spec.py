"""Knows how schedules are written: as data, and as people say them; not when they come due."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.adaptive import Adaptive
from brokersim.protocol.schedules.avoid import Avoid
from brokersim.protocol.schedules.base import Schedule
from brokersim.protocol.schedules.calendar import Cron
from brokersim.protocol.schedules.every import Every, Onetime
from brokersim.protocol.schedules.named import Named, is_name
from brokersim.protocol.schedules.nested import Nested, check_depth, parse_words
from brokersim.protocol.schedules.random import RandomGaps
from brokersim.protocol.schedules.windows import Daily, Windows

#: Name → what it is made of. Windows come by the day if they say so.
KINDS: Final[dict[str, tuple[type[Schedule], ...]]] = {
    "every": (Every,),
    "onetime": (Onetime,),
    "windows": (Windows, Daily),
    "nested": (Nested,),
    "cron": (Cron,),
    "random": (RandomGaps,),
    "adaptive": (Adaptive,),
    "avoid": (Avoid,),
}
_FORMS: Final = "say 10s, 10s for 1m every 1h, a cron expression, KIND KEY=VALUE..., or JSON"


def to_schedule(given: object, depth: int = 1) -> Schedule:
    """From ``{"type": "every", "params": {"every": 2}}``, or text as `parse_schedule` reads it. Raises ValueError.

    ``depth``: it is the child of the child of so many.
    """
    check_depth(depth)
    if isinstance(given, str):
        return parse_schedule(given, depth)
    if isinstance(given, int | float):
        return Every(every=given)
    if not isinstance(given, Mapping) or not set(given) <= {"type", "params"} or "type" not in given:
        raise ValueError(f"a schedule is {{type, params}}, not {quoted(given)}")
    params = given.get("params") or {}
    if not isinstance(params, Mapping):
        raise ValueError(f"params of a schedule must be an object, not {quoted(params)}")
    return _made(given["type"], params, depth)


def parse_schedule(text: str, depth: int = 1) -> Schedule:
    """From text: ``10s``, ``10s for 1m every 1h``, ``0 6 * * SUN#3``, ``random low=1s high=5s``, or JSON.

    Raises ValueError that says what would be right.
    """
    text = text.strip()
    if text.startswith("{"):
        return to_schedule(_json(text), depth)
    if text.startswith("["):
        return Nested(spec=_json(text))
    words = text.split()
    if words and (words[0] in KINDS or is_name(words[0])) and (len(words) == 1 or "=" in words[1]):
        return _made(words[0], _pairs(text), depth)
    if words[:1] == ["cron"]:
        return Cron(expr=" ".join(words[1:]))
    if len(words) in (5, 6) and "for" not in words and "every" not in words:
        return Cron(expr=text)
    level = parse_words(text)
    return Every(every=level.interval) if level.child is None and level.window is None else Nested(spec=level)


def to_spec(schedule: Schedule) -> JsonObject:
    """What `to_schedule` reads back as the same."""
    if isinstance(schedule, Named):
        return {"type": schedule.function, "params": schedule.params}
    kind = next(name for name, made in KINDS.items() if type(schedule) in made)
    return {"type": kind, "params": schedule.to_dict()}


def _made(kind: object, params: JsonView, depth: int) -> Schedule:
    if isinstance(kind, str) and is_name(kind):
        return Named(function=kind, written=params)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(
            f"no schedule {quoted(kind)}; there are {', '.join(KINDS)}, or MODULE:FUNCTION of yours"
        )
    made = KINDS[kind]
    cls = made[-1] if "daily" in params else made[0]
    fields = attrs.fields_dict(cls)
    for key in params:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; is {near[0]} meant?" if near else f"; it has {', '.join(fields)}"
            raise ValueError(f"schedule {kind}: no parameter {quoted(key)}{hint}")
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in params:
            raise ValueError(f"schedule {kind}: {name} is missing")
    try:
        return cls(**{key: _inner(key, value, depth) for key, value in params.items()})
    except ValueError as error:
        raise ValueError(f"schedule {kind}: {error}") from None


def _inner(key: str, value: object, depth: int) -> Any:
    return to_schedule(value, depth + 1) if key == "child" and not isinstance(value, Schedule) else value


def _pairs(text: str) -> JsonObject:
    pairs: JsonObject = {}
    for word in shlex.split(text)[1:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{quoted(word)} is no KEY=VALUE; {_FORMS}")
        pairs[key] = _value(value)
    return pairs


def _value(text: str) -> Json:
    read: Callable[[bytes], Any] = msgspec.json.decode
    try:
        return read(text.encode())
    except msgspec.DecodeError:
        return text


def _json(text: str) -> Json:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        raise ValueError(f"{quoted(text)} is not JSON: {error}; {_FORMS}") from None
