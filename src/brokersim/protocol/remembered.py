"""Knows what was made of plain values of late, so that equal ones cost an encoding and no second look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T")
#: So many at most, none of them longer: a megabyte in all. Jobs of one loop differ in nothing that is asked for here.
_MOST: Final = 256
_SIZE_MAX: Final = 4096
# Not JSON, in which bytes look like text and keys that are numbers like digits.
_encode = msgspec.msgpack.Encoder().encode


class Remembered(Generic[T]):
    """Results by what they were made of, whoever asks; they must be frozen. An error is not remembered."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[bytes, T] = {}

    def of(self, value: object, make: Callable[[], T]) -> T:
        """What ``make`` gives for a value. It is looked at as it is now, since its owner may change it later."""
        try:
            text = _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.EncodeError):
            return make()
        found = self._made.get(text)
        if found is None:
            found = make()
            if len(text) <= _SIZE_MAX:
                if len(self._made) >= _MOST:
                    self._made.clear()
                self._made[text] = found
        return found
