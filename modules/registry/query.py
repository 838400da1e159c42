"""Knows which records a filter means, in what order and how much of each is shown; not where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from brokersim.brokermod import RequestError, check_nesting, errnums

Test = Callable[[Any], bool]
_ABSENT: Final = object()
#: A filter's expressions come from who asks: their length bounds what they can cost.
PATTERN_MAX: Final = 200
_LIKE: Final[dict[str, tuple[type, ...]]] = {"text": (str,), "number": (int, float)}


def selected(
    records: Sequence[Mapping[str, Any]], wish: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], int]:
    """The records a wish means (``filter``, ``sort``, ``skip``, ``limit``, ``fields``), and how many there are in all.

    Raises RequestError(EINVAL) with what would be right.
    """
    test = to_test(wish.get("filter") or {})
    found = [record for record in records if test(record)]
    for key in reversed(_words(wish.get("sort"))):
        path, is_falling = key.removeprefix("-"), key.startswith("-")
        found.sort(key=lambda record, path=path: _order(at(record, path)), reverse=is_falling)  # type: ignore[misc]
    skip, limit = _count(wish, "skip", 0), _count(wish, "limit", len(found))
    shown = found[skip : skip + limit]
    fields = _words(wish.get("fields"))
    if fields:
        return [{key: at(one, key) for key in fields if at(one, key) is not _ABSENT} for one in shown], len(
            found
        )
    return [dict(one) for one in shown], len(found)


def at(record: Any, path: str) -> Any:
    """What stands under ``a.b.c``; a thing of its own where there is nothing."""
    for key in path.split("."):
        if not isinstance(record, Mapping) or key not in record:
            return _ABSENT
        record = record[key]
    return record


def to_test(given: Any) -> Test:
    """From ``{"a.b": {"lt": 5}, "or": [...]}``: all of it must hold. Raises RequestError(EINVAL)."""
    try:
        check_nesting(given, "a filter")
    except ValueError as error:
        raise _wrong(str(error)) from None
    return _all(given)


def _all(given: Any) -> Test:
    if not isinstance(given, Mapping):
        raise _wrong(f"a filter is an object, not {given!r:.60}")
    tests = [_one(str(key), value) for key, value in given.items()]
    return lambda record: all(test(record) for test in tests)


def _one(key: str, value: Any) -> Test:
    if key in ("or", "and"):
        if not isinstance(value, list) or not value:
            raise _wrong(f"{key} needs a list of filters, not {value!r:.60}")
        tests, both = [_all(one) for one in value], all if key == "and" else any
        return lambda record: both(test(record) for test in tests)
    if key == "not":
        inner = _all(value)
        return lambda record: not inner(record)
    asked = value if isinstance(value, Mapping) else {"eq": value}
    tests = [_operator(key, name, operand) for name, operand in asked.items()]
    return lambda record: all(test(at(record, key)) for test in tests)


def _operator(path: str, name: str, operand: Any) -> Test:
    if name not in _OPERATORS:
        raise _wrong(f"{path}: no operator {name!r:.40}; there are {', '.join(_OPERATORS)}")
    return _OPERATORS[name](operand)


def _same(value: Any, operand: Any) -> bool:
    # 1 == True in Python, and nowhere else.
    return bool(value == operand) and isinstance(value, bool) == isinstance(operand, bool)


def _ordering(holds: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(operand: Any) -> Test:
        kind = next((kinds for kinds in _LIKE.values() if isinstance(operand, kinds)), None)
        if kind is None or isinstance(operand, bool):
            raise _wrong(f"an order needs a number or a text, not {operand!r:.40}")
        return lambda value: isinstance(value, kind) and not isinstance(value, bool) and holds(value, operand)

    return make


def _among(operand: Any) -> Test:
    if not isinstance(operand, list):
        raise _wrong(f"in needs a list, not {operand!r:.40}")
    return lambda value: any(_same(value, one) for one in operand)


def _expression(operand: Any) -> Test:
    if not isinstance(operand, str) or len(operand) > PATTERN_MAX:
        raise _wrong(f"re needs an expression of at most {PATTERN_MAX} characters, not {operand!r:.40}")
    try:
        pattern = re.compile(operand)
    except re.error as error:
        raise _wrong(f"re {operand!r:.60}: {error}") from None
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


def _is_null(operand: Any) -> Test:
    return lambda value: (value is None) == bool(operand)


def _exists(operand: Any) -> Test:
    return lambda value: (value is not _ABSENT) == bool(operand)


_OPERATORS: Final[dict[str, Callable[[Any], Test]]] = {
    "eq": lambda operand: lambda value: _same(value, operand),
    "ne": lambda operand: lambda value: not _same(value, operand),
    "lt": _ordering(lambda value, operand: value < operand),
    "lte": _ordering(lambda value, operand: value <= operand),
    "gt": _ordering(lambda value, operand: value > operand),
    "gte": _ordering(lambda value, operand: value >= operand),
    "in": _among,
    "null": _is_null,
    "exists": _exists,
    "re": _expression,
}


def _order(value: Any) -> tuple[int, Any]:
    """Numbers before texts before the rest: any two can be compared."""
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, 0)


def _words(given: Any) -> list[str]:
    words = given.split(",") if isinstance(given, str) else given or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong(f"sort and fields are names, not {given!r:.60}")
    return [word for word in words if word]


def _count(wish: Mapping[str, Any], key: str, default: int) -> int:
    value = wish.get(key)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise _wrong(f"{key} must be a whole number, 0 or more, not {value!r:.40}")
    return value


def _wrong(text: str) -> RequestError:
    return RequestError(errnums.EINVAL, text)
