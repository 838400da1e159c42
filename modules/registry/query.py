"""Knows which records a filter means, in what order and how much of each is shown; not where they come from.

Who asks need not be who owns the instance: pages are read without a token. So what a question costs is bounded: its
conditions and expressions by steps, its paths by their length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from brokersim.brokermod import RequestError, check_nesting, errnums

from .expression import PATTERN_MAX, STEPS_MAX, Expression, Steps, TooLong

Test = Callable[[Any], bool]
_ABSENT: Final = object()
#: Characters of a path, and names in sort and in fields.
PATH_MAX: Final = 1000
WORDS_MAX: Final = 100
#: Steps of a watcher's filter for a record: about 10 ms here.
STEPS_A_RECORD: Final = 50_000
#: What it counts for to read an expression of the longest: a millisecond or two.
_STEPS_TO_READ: Final = 20_000
_LIKE: Final[dict[str, tuple[type, ...]]] = {"text": (str,), "number": (int, float)}


def selected(
    records: Sequence[Mapping[str, Any]], wish: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], int]:
    """The records a wish means (``filter``, ``sort``, ``skip``, ``limit``, ``fields``), and how many there are in all.

    Raises RequestError(EINVAL) with what would be right.
    """
    steps = Steps()
    test = _test(wish.get("filter") or {}, steps)
    try:
        found = [record for record in records if test(record)]
    except TooLong:
        raise _too_long(STEPS_MAX, f"{len(records)} records") from None
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
    """From ``{"a.b": {"lt": 5}, "or": [...]}``: all of it must hold. Raises RequestError(EINVAL).

    So does the test, of a record for which it takes more than ``STEPS_A_RECORD``: it is asked at each change, by each
    who watches.
    """
    steps = Steps()
    test = _test(given, steps)

    def holds(record: Any) -> bool:
        steps.left = STEPS_A_RECORD
        try:
            return test(record)
        except TooLong:
            raise _too_long(STEPS_A_RECORD, "a record") from None

    return holds


def _too_long(steps: int, what: str) -> RequestError:
    return _wrong(f"the filter takes more than {steps:,} steps for {what}; ask with less in it")


def _test(given: Any, steps: Steps) -> Test:
    try:
        check_nesting(given, "a filter")
        return _all(given, steps)
    except ValueError as error:
        raise _wrong(str(error)) from None
    except TooLong:
        raise _wrong("the filter has too many expressions in it") from None


def _all(given: Any, steps: Steps) -> Test:
    if not isinstance(given, Mapping):
        raise _wrong(f"a filter is an object, not {given!r:.60}")
    tests = [_one(str(key), value, steps) for key, value in given.items()]
    return lambda record: all(test(record) for test in tests)


def _one(key: str, value: Any, steps: Steps) -> Test:
    if key in ("or", "and"):
        if not isinstance(value, list) or not value:
            raise _wrong(f"{key} needs a list of filters, not {value!r:.60}")
        tests, both = [_all(one, steps) for one in value], all if key == "and" else any
        return lambda record: both(test(record) for test in tests)
    if key == "not":
        inner = _all(value, steps)
        return lambda record: not inner(record)
    _check_path(key)
    asked = value if isinstance(value, Mapping) else {"eq": value}
    tests = [_operator(key, name, operand, steps) for name, operand in asked.items()]
    cost = (
        key.count(".")
        + sum(1 + len(one) for one in asked.values() if isinstance(one, list | Mapping))
        + len(tests)
    )

    def holds(record: Any) -> bool:
        steps.take(cost)
        return all(test(at(record, key)) for test in tests)

    return holds


def _operator(path: str, name: str, operand: Any, steps: Steps) -> Test:
    if name == "re":
        return _expression(operand, steps)
    if name not in _OPERATORS:
        raise _wrong(f"{path}: no operator {name!r:.40}; there are {', '.join(_OPERATORS)}, re")
    return _OPERATORS[name](operand)


def _check_path(path: str) -> None:
    if len(path) > PATH_MAX:
        raise _wrong(f"a path has at most {PATH_MAX} characters, not {len(path)}: {path!r:.40}")


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


def _expression(operand: Any, steps: Steps) -> Test:
    if not isinstance(operand, str):
        raise _wrong(f"re needs an expression of at most {PATTERN_MAX} characters, not {operand!r:.40}")
    steps.take(_STEPS_TO_READ)
    try:
        expression = Expression(operand)
    except ValueError as error:
        raise _wrong(f"re {operand!r:.60}: {error}") from None
    return lambda value: isinstance(value, str) and expression.is_in(value, steps)


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
    if len(words) > WORDS_MAX:
        raise _wrong(f"sort and fields are at most {WORDS_MAX} names, not {len(words)}")
    for word in words:
        _check_path(word)
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
