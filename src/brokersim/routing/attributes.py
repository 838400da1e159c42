"""Knows the broker's attributes: names, values, which of them are fixed; not what they mean."""

from __future__ import annotations

from collections.abc import Iterator

from brokersim.protocol.errnums import EINVAL, ENOENT, EPERM, RequestError

#: Clients may cache such a value for good (``flags`` of attr.get in flux-core 0.88).
IMMUTABLE = 1


class Attributes:
    """Name to string value, some immutable once set."""

    __slots__ = ("_fixed", "_values")

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._fixed: dict[str, None] = {}

    def fix(self, name: str, value: str) -> None:
        """Set a value that cannot be changed any more."""
        self._values[name] = value
        self._fixed[name] = None

    def set(self, name: str, value: str) -> None:
        """Raises RequestError: EINVAL for an empty name, EPERM for an immutable attribute."""
        if not name:
            raise RequestError(EINVAL, "an attribute needs a name")
        self._check(name)
        self._values[name] = value

    def remove(self, name: str) -> None:
        """Raises RequestError: ENOENT if there is none, EPERM if it is immutable."""
        self._check(name)
        if self._values.pop(name, None) is None:
            raise RequestError(ENOENT)

    def get(self, name: str) -> str | None:
        """The value, ``None`` if there is none."""
        return self._values.get(name)

    def flags(self, name: str) -> int:
        """``IMMUTABLE`` or 0."""
        return IMMUTABLE if name in self._fixed else 0

    def fixed(self) -> dict[str, str]:
        """Those that never change."""
        return {name: self._values[name] for name in self._fixed}

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(self._values.items())

    def _check(self, name: str) -> None:
        if name in self._fixed:
            raise RequestError(EPERM, f"attribute {name!r} is immutable")
