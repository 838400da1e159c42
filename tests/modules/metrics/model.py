"""Knows what a stat's rows must show, worked out from all observations at once: no tables, no merging, no ranks."""

from __future__ import annotations

import ipaddress
import json
import math
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise
from typing import Any

#: (rank, key, value) as they were made, in the order of time.
Observation = tuple[int, Any, Any]


def counted(value: Any) -> bool:
    """Texts and finite numbers up to 1e150."""
    if isinstance(value, str):
        return True
    return type(value) in (int, float, bool) and -1e150 <= value <= 1e150


def one_form(value: Any) -> Any:
    """2.0, True and 2 are numbers; what is larger than 62 bits is a float; a long text is cut."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:1000]
    number = int(value) if isinstance(value, bool) or value == int(value) else value
    return float(number) if isinstance(number, int) and abs(number) >= 2**62 else number


def key_of(key: Any) -> dict[str, Any] | None:
    """The object a key stands for, None for what is none."""
    if isinstance(key, str):
        key = {"str": key}
    if not isinstance(key, dict):
        return None
    try:
        text = json.dumps(key, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError):
        return None
    plain = all(isinstance(one, str | int | float | bool | None) for one in key.values())
    return dict(key) if plain and size <= 1000 else None


def normal(source: dict[str, Any], key: dict[str, Any]) -> dict[str, Any] | None:
    """A key as the stat changes it; None where it does not count it."""
    wanted = source.get("where", {})
    if not all(name in key and fnmatchcase(str(key[name]), glob) for name, glob in wanted.items()):
        return None
    how = source.get("normalize", {})
    if "keep" in how:
        return {name: key.get(name) for name in how["keep"]}
    if "drop" in how:
        return {name: value for name, value in key.items() if name not in how["drop"]}
    if "host" not in key or not how:
        return key
    rest = {name: value for name, value in key.items() if name != "host"}
    try:
        host = ipaddress.ip_address(key["host"])
    except ValueError:
        return None
    if "mask" in how:
        return rest | {"network": str(ipaddress.ip_network((host, how["mask"]), strict=False))}
    known = [one for one in map(ipaddress.ip_network, how["table"]) if host in one]
    return rest | {"network": str(max(known, key=lambda one: one.prefixlen))} if known else None


def rows(source: dict[str, Any], seen: Iterable[Observation]) -> dict[str, list[Observation]]:
    """The observations of each row, by the canonical text of its key."""
    found: dict[str, list[Observation]] = {}
    for rank, key, value in seen:
        whole = key_of(key)
        changed = normal(source, whole) if whole is not None and counted(value) else None
        if changed is not None:
            found.setdefault(json.dumps(changed, sort_keys=True), []).append((rank, key, value))
    return found


def check(row: dict[str, Any], source: dict[str, Any], seen: list[Observation]) -> None:
    """A row shows what these observations are. Raises AssertionError."""
    values = [one_form(value) for _, _, value in seen]
    numbers = [Fraction(1 if isinstance(value, str) else value) for _, _, value in seen]
    assert row["n"] == len(seen)
    for name in source["apply"]:
        assert _CHECKS[name](row, values, numbers, source.get("params", {})) is not False, (name, row, seen)


def _near(found: Any, wanted: Fraction | float, scale: Fraction | float = 0) -> bool:
    return abs(Fraction(found) - Fraction(wanted)) <= Fraction(1e-9) * max(
        abs(Fraction(wanted)), Fraction(scale), 1
    )


def _mean(numbers: list[Fraction]) -> Fraction:
    return sum(numbers) / len(numbers)


def _variance(numbers: list[Fraction]) -> Fraction:
    mean = _mean(numbers)
    return sum((one - mean) ** 2 for one in numbers) / (len(numbers) - 1) if len(numbers) > 1 else Fraction(0)


def _widest(numbers: list[Fraction]) -> Fraction:
    return max(map(abs, numbers))


def _is_sum(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    # To the last bit, integers of any size and floats: the nearest float of the exact sum.
    return bool(row["sum"] == sum(numbers) or row["sum"] == float(sum(numbers)))


def _is_unique(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    most, true = params.get("unique_max"), len(set(values))
    if most is None or true <= most:
        return bool(row["unique"] == true and "unique_saturated" not in row)
    return bool(row["unique"] == most and row["unique_saturated"] and row["unique_estimate"] > 0)


def _is_hll(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    true, error = len(set(values)), params.get("hll_error_margin", 0.01)
    return bool(abs(row["hll_unique"] - true) <= max(1, 6 * error * true))


def _is_topk(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    size, true = params.get("topk_size", 500), Counter(values)
    for value, count, epsilon in row["topk"]:
        assert count - epsilon <= true[value] <= count
    exact = sorted(([value, count, 0] for value, count in true.items()), key=_by_count)
    if len(true) < size:
        return bool(sorted(row["topk"], key=_by_count) == exact)
    return len(row["topk"]) == min(size, len(true))


def _by_count(entry: list[Any]) -> Any:
    return -entry[1], isinstance(entry[0], str), entry[0]


def _is_sample(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    size = params.get("num_samples", 10)
    assert not Counter(row["samples"]) - Counter(values)
    return row["sample_elements"] == len(values) and len(row["samples"]) == min(size, len(values))


def _is_last(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    size = params.get("num_last_elements", 10)
    return bool(row["last"] == (values[-size:] if size else []))


def _is_histogram(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    bounds, shown = params.get("bounds", [0.001, 0.01, 0.1, 1, 10, 100]), row["histogram"]
    edges = [-math.inf, *bounds, math.inf]
    counts = [sum(low < one <= high for one in numbers) for low, high in pairwise(edges)]
    return bool(shown["counts"] == counts and _is_sum(shown, values, numbers, params))


def _is_quantile(row: Any, values: Any, numbers: Any, params: Any) -> bool:
    alpha, ordered = params.get("alpha", 0.01), sorted(numbers)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        true = ordered[math.floor(share * (len(ordered) - 1))]
        near = abs(Fraction(row[name]) - true) <= Fraction(alpha * (1 + 1e-6)) * abs(true)
        assert near or row.get("quantile_collapsed"), (name, row[name], float(true))
    return True


_CHECKS = {
    "sum": _is_sum,
    "average": lambda row, values, numbers, params: _near(row["average"], _mean(numbers), _widest(numbers)),
    "variance": lambda row, values, numbers, params: _near(
        row["variance"], _variance(numbers), _widest(numbers) ** 2
    ),
    "std_dev": lambda row, values, numbers, params: _near(
        Fraction(row["std_dev"]) ** 2, _variance(numbers), _widest(numbers) ** 2
    ),
    "min": lambda row, values, numbers, params: Fraction(row["min"]) == _float(min(numbers)),
    "max": lambda row, values, numbers, params: Fraction(row["max"]) == _float(max(numbers)),
    "unique": _is_unique,
    "hll_unique": _is_hll,
    "topk": _is_topk,
    "sample": _is_sample,
    "last": _is_last,
    "histogram": _is_histogram,
    "quantile": _is_quantile,
}  # fmt: skip


def _float(number: Fraction) -> Fraction:
    return Fraction(float(number)) if abs(number) >= 2**62 else number
