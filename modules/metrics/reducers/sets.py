"""Knows how many different values there were: exactly, exactly up to a maximum, or by HyperLogLog."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

from ..values import hash64, order, plain
from .base import Counter, Origin, Reducer, State, share, whole

_BITS = 64


class _SetCounter(Counter):
    __slots__ = ("_reducer", "_values")

    def __init__(self, reducer: Unique) -> None:
        self._reducer = reducer
        self._values: set[Any] = set()

    def add(self, value: Any) -> None:
        maximum = self._reducer.maximum
        if maximum is None:
            self._values.add(plain(value))
            return
        self._values.add(hash64(value))
        if len(self._values) > 2 * maximum + 64:
            self._values = set(sorted(self._values)[: maximum + 1])

    def state(self) -> State:
        if self._reducer.maximum is None:
            return sorted(self._values, key=order)
        return sorted(self._values)[: self._reducer.maximum + 1]


class Unique(Reducer):
    """With ``unique_max`` k the k + 1 smallest hashes are kept: exact up to k, then saturated with an estimate."""

    name = "unique"
    takes_text = True
    is_small = False
    is_monotone = True
    initial = ()
    defaults = {"unique_max": None}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        params = {**self.defaults, **(params or {})}
        self.maximum = None if params["unique_max"] is None else whole(params, "unique_max", 1, 50_000)

    def counter(self, origin: Origin) -> Counter:
        return _SetCounter(self)

    def merge(self, a: State, b: State) -> State:
        both = {*a, *b}
        if self.maximum is None:
            return sorted(both, key=order)
        return sorted(both)[: self.maximum + 1]

    def finish(self, state: State) -> dict[str, Any]:
        if self.maximum is None or len(state) <= self.maximum:
            return {"unique": len(state)}
        estimate = self.maximum / (state[self.maximum] / 2**_BITS)
        return {"unique": self.maximum, "unique_saturated": True, "unique_estimate": round(estimate)}


class _RegisterCounter(Counter):
    __slots__ = ("_bits", "registers")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.registers: dict[int, int] = {}

    def add(self, value: Any) -> None:
        bits = _BITS - self._bits
        hashed = hash64(value)
        index, rest = hashed >> bits, hashed & ((1 << bits) - 1)
        run = bits - rest.bit_length() + 1
        if run > self.registers.get(index, 0):
            self.registers[index] = run

    def state(self) -> State:
        return _packed(self.registers, self._bits)


def _packed(registers: Mapping[int, int], bits: int) -> State:
    """A list of pairs while few are set (each takes some 10 characters), then all of them as compressed bytes."""
    if len(registers) < 1 << (bits - 4):
        return [number for index in sorted(registers) for number in (index, registers[index])]
    dense = bytes(registers.get(index, 0) for index in range(1 << bits))
    return base64.b64encode(zlib.compress(dense, 6)).decode()


def _unpacked(state: State) -> dict[int, int]:
    if isinstance(state, str):
        dense = zlib.decompress(base64.b64decode(state))
        return {index: run for index, run in enumerate(dense) if run}
    return dict(zip(state[::2], state[1::2], strict=True))


class HllUnique(Reducer):
    """HyperLogLog; ``hll_error_margin`` .01 takes 2^14 registers, whose standard error is .0081."""

    name = "hll_unique"
    takes_text = True
    is_small = False
    is_monotone = True
    initial = ()
    defaults = {"hll_error_margin": 0.01}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        error = share({**self.defaults, **(params or {})}, "hll_error_margin", 0.26)
        self.bits = max(4, math.ceil(2 * math.log2(1.04 / error)))
        if self.bits > 18:
            raise ValueError(
                f"hll_error_margin {error:g} would take 2^{self.bits} registers; .0021 is the least"
            )

    def counter(self, origin: Origin) -> Counter:
        return _RegisterCounter(self.bits)

    def merge(self, a: State, b: State) -> State:
        registers = _unpacked(a)
        for index, run in _unpacked(b).items():
            if run > registers.get(index, 0):
                registers[index] = run
        return _packed(registers, self.bits)

    def finish(self, state: State) -> dict[str, Any]:
        registers = _unpacked(state)
        size = 1 << self.bits
        empty = size - len(registers)
        alpha = {4: 0.673, 5: 0.697, 6: 0.709}.get(self.bits, 0.7213 / (1 + 1.079 / size))
        raw = alpha * size * size / (empty + sum(2.0**-run for run in registers.values()))
        # Linear counting while it is the better one (Flajolet et al. 2007).
        if raw <= 2.5 * size and empty:
            raw = size * math.log(size / empty)
        return {"hll_unique": round(raw)}
