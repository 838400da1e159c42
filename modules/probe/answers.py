"""Knows what a probe may answer and what that means: readings, subject by subject; not what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from brokersim.brokermod import quoted

from .contract import Field, Junk, Reading, Value

#: What an answer says of metrics that nobody knows but it: ``{metric: {unit, kind, width}}``.
FIELDS: Final = "fields"
#: Keys of an answer that are no metrics: its time, what could not be read, a text for people, who counts.
RESERVED: Final = frozenset(("ts", "partial", "text", "identity", FIELDS))
#: Lists of lists of answers: a transform may give a list, more is a mistake.
DEPTH_MAX: Final = 4
#: A clock's 64 bits of nanoseconds end here, in seconds: the year 2262.
TS_MAX: Final = 2**63 / 1e9
#: Integers beyond are kept as floats: what samples go to counts in 64 bits.
INT_MAX: Final = 2**64


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What an answer says of a metric."""

    unit: str = "1"
    kind: Literal["gauge", "counter", "state"] = "gauge"
    width: Literal[32, 64] = 64


def readings(answer: Any, subject: str, depth: int = 0) -> list[Reading]:
    """What a probe answered, subject by subject. Raises Junk for what is no answer.

    ``depth``: it stands in so many lists.
    """
    if answer is None:
        return []
    if isinstance(answer, dict):
        return _of_mapping(answer, subject)
    if depth > DEPTH_MAX:
        raise Junk(f"an answer is in at most {DEPTH_MAX} lists in each other")
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        return [one for part in answer for one in readings(part, subject, depth + 1)]
    raise Junk(
        f"an answer is a dict of metrics or of subjects, or a list of such, not {type(answer).__name__}"
    )


def _of_mapping(answer: Mapping[Any, Any], subject: str) -> list[Reading]:
    is_nested = [isinstance(value, dict) for value in answer.values()]
    if not any(is_nested):
        return _one(answer, subject)
    if not all(is_nested):
        if sum(is_nested) == 1 and isinstance(answer.get(FIELDS), dict):
            return _one(answer, subject)
        raise Junk("an answer has either metrics or subjects, not both")
    return [one for name, metrics in answer.items() for one in _one(metrics, str(name))]


def _one(answer: Mapping[Any, Any], subject: str) -> list[Reading]:
    metrics: dict[str, Value] = {}
    more = False
    for name, value in answer.items():
        if name in RESERVED:
            more = True
        elif type(name) is str and (
            math.isfinite(value)
            if type(value) is float
            else type(value) is int and -INT_MAX < value < INT_MAX
        ):
            metrics[name] = value
        else:
            other = _value(name, value)
            if other is not None:
                metrics[str(name)] = other
    if more:
        return _with_more(answer, subject, metrics)
    return [Reading(subject=subject, metrics=metrics)] if metrics else []


def _with_more(answer: Mapping[Any, Any], subject: str, metrics: dict[str, Value]) -> list[Reading]:
    ts, partial = answer.get("ts"), answer.get("partial") or ()
    if ts is not None and (type(ts) not in (int, float) or not -TS_MAX < ts < TS_MAX):
        raise Junk(f"ts is seconds since the epoch, not {quoted(ts)}")
    if not isinstance(partial, list | tuple) or not all(isinstance(name, str) for name in partial):
        raise Junk(f"partial is a list of names, not {quoted(partial)}")
    if not metrics and not partial:
        return []
    return [
        Reading(
            subject=subject,
            metrics=metrics,
            ts=None if ts is None else float(ts),
            partial=tuple(partial),
            text=_text(answer, "text"),
            identity=_text(answer, "identity"),
            fields=_fields(answer),
        )
    ]


def _fields(answer: Mapping[Any, Any]) -> dict[str, Field]:
    given = answer.get(FIELDS)
    if not given:
        return {}
    try:
        said = msgspec.convert(given, dict[str, Said])
    except msgspec.ValidationError as error:
        raise Junk(f"fields is {{metric: {{unit, kind, width}}}}: {error}") from None
    return {name: Field(unit=one.unit, kind=one.kind, width=one.width) for name, one in said.items()}


def _text(answer: Mapping[Any, Any], key: str) -> str:
    value = answer.get(key) or ""
    if not isinstance(value, str | int | float):
        raise Junk(f"{key} is a text, not {quoted(value)}")
    return str(value)


def _value(name: Any, value: Any) -> Value | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value) if -INT_MAX < value < INT_MAX else _beyond(name, value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise Junk(f"{quoted(name)} is {quoted(value)}: a value is a finite number, a text, or nothing")


def _beyond(name: Any, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Junk(
            f"{quoted(name)} is a number of {value.bit_length()} bits: too large to count with"
        ) from None
