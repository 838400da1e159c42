"""Whatever is observed where, and whatever the tree: rows show what an independent model says of all observations."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from modules.metrics.reducers import REDUCERS
from modules.metrics.stat import Row, Stat, read
from modules.metrics.table import Clock, Table
from tests.modules.metrics import model
from tests.modules.metrics.live import cluster
from tests.modules.metrics.rig import Loop

#: Random cases of each kind that are merged without an instance; those on a live one are dearer.
CASES, LIVE = 30, 3
NUMBERS: list[Any] = [
    0, 1, -1, 2, 2.0, True, False, -0.0, 0.5, -0.5, 1e-300, 5e-324, -1e150, 1e150, 2**62, 2**62 - 1, -(2**62),
    2**64, 10**100, 0.1, 0.2, 0.3, 1e16, 3, 7, 1000, 1e9,
]  # fmt: skip
REFUSED: list[Any] = [float("nan"), float("inf"), -float("inf"), 1e151, 10**400, None, [1], {"a": 1}, b"x"]
TEXTS: list[Any] = ["", "a", "b", "1", "ü", "日本", "x" * 1500, "\ud800", "\0", '"\\', "true"]
KEYS: list[Any] = [
    "a", "b", "", "ü", "日本語", '"', "\\", "\0\n", "x" * 900, "ü" * 480,
    {"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": None}, {},
    {"str": "a"}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"host": "10.1.2.3"}, {"host": "10.1.2.9", "b": 1},
    {"host": "fe80::1"}, {"host": "192.168.0.1"}, {"host": "nohost"},
]  # fmt: skip
NO_KEYS: list[Any] = [None, 3, ["a"], {"a": [1]}, {"a": {}}, "x" * 1001, "ü" * 600, {"a": object()}, "\ud800"]
HOW: list[dict[str, Any]] = [
    {}, {}, {}, {"normalize": {"keep": ["a"]}}, {"normalize": {"drop": ["a", "str"]}}, {"normalize": {"mask": 24}},
    {"normalize": {"table": ["10.0.0.0/8", "10.1.2.0/29", "fe80::/10"]}},
    {"where": {"a": "1*"}}, {"where": {"str": "?"}},
    {"where": {"a": "*"}, "normalize": {"drop": ["b"]}},
]  # fmt: skip
PARAMS: dict[str, list[dict[str, Any]]] = {
    "unique": [{}, {"unique_max": 3}],
    "hll_unique": [{}, {"hll_error_margin": 0.26}],
    "topk": [{}, {"topk_size": 3}, {"topk_size": 1}],
    "sample": [{}, {"num_samples": 2}, {"num_samples": 0}],
    "last": [{}, {"num_last_elements": 2}, {"num_last_elements": 0}],
    "histogram": [{}, {"bounds": [-1, 0, 1.5]}],
    "quantile": [{}, {"alpha": 0.2}, {"max_bins": 16}],
}
MOMENTS = ("average", "variance", "std_dev")


class Case:
    """One stat of one reducer, or of several, and what is observed on each rank."""

    def __init__(self, kind: str, number: int) -> None:
        self.rng = rng = random.Random(f"{kind}/{number}")
        others = rng.sample(sorted(REDUCERS), rng.choice([0, 0, 1, 3])) if kind not in MOMENTS else []
        apply = list(dict.fromkeys([kind, *(one for one in others if one not in MOMENTS)]))
        params = {name: value for one in apply for name, value in rng.choice(PARAMS.get(one, [{}])).items()}
        self.source = {"stream": "s", "apply": apply, "params": params, **rng.choice(HOW)}
        self.ranks = rng.choice([1, 2, 3, 5, 9])
        # Of far ends the moments keep no nine digits, and need not.
        numbers = [one for one in NUMBERS if kind not in MOMENTS or abs(one) < 1e10]
        keys = rng.sample(KEYS, rng.choice([1, 3, len(KEYS)])) + (NO_KEYS if rng.random() < 0.3 else [])
        values = [*numbers, *(REFUSED if rng.random() < 0.5 else []), *(TEXTS if rng.random() < 0.5 else [])]
        busy = [rank for rank in range(self.ranks) if rng.random() < 0.7]
        count = rng.choice([0, 1, 5, 60, 300]) if busy else 0
        self.seen: list[model.Observation] = [
            (rng.choice(busy), rng.choice(keys), self._value(values)) for _ in range(count)
        ]

    def _value(self, values: list[Any]) -> Any:
        rng = self.rng
        drawn = (rng.randrange(-5, 5), rng.gauss(0, 100), rng.expovariate(0.1))
        return rng.choice([rng.choice(values), *drawn])

    def check(self, found: list[dict[str, Any]]) -> None:
        wanted = model.rows(self.source, self.seen)
        assert sorted(json.dumps(row["key"], sort_keys=True) for row in found) == sorted(wanted)
        for row in found:
            model.check(row, self.source, wanted[json.dumps(row["key"], sort_keys=True)])


def on_a_wire(rows: list[Row]) -> list[Row]:
    decoded: list[Row] = msgspec.json.decode(msgspec.json.encode(rows))
    return decoded


def merged(one: Stat, tables: list[list[Row]], rng: random.Random) -> list[Row]:
    """All tables, thrown together two by two as it comes; each part has been on a wire."""
    parts = [on_a_wire(rows) for rows in tables]
    while len(parts) > 1:
        left, right = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        found = {row[0]: row for row in left}
        for row in right:
            found[row[0]] = one.merge(found[row[0]], row) if row[0] in found else row
        parts.append(on_a_wire([found[key] for key in sorted(found)]))
    return parts[0]


@pytest.mark.parametrize("kind", sorted(REDUCERS))
def test_rows_of_any_tree_show_what_was_observed(kind: str) -> None:
    for number in range(CASES):
        case = Case(kind, number)
        one = read({"name": "t", "reducers": [case.source]})
        loop = Loop()
        tables = [Table(one, rank, Clock(loop)) for rank in range(case.ranks)]
        for rank, key, value in case.seen:
            loop.now += 1000
            tables[rank].taps[0].observe(key, value)
        cut = [held.swap() for held in tables]
        trees = [merged(one, cut, random.Random(tree)) for tree in range(3)]
        case.check([one.finish(row) for row in trees[0]])
        if not {kind, *case.source["apply"]} & {"average", "variance", "std_dev", "topk"}:
            assert trees[0] == trees[1] == trees[2], case.source


@pytest.mark.parametrize("kind", sorted(REDUCERS))
def test_rows_of_a_live_instance_show_what_was_observed(kind: str) -> None:
    for number in range(LIVE):
        case = Case(kind, 1000 + number)

        async def body(one: Any, case: Case = case) -> Any:
            await one.create(reducers=[case.source], group=case.rng.choice([1, 3, 50]))
            for rank, key, value in case.seen:
                one.observe(rank, "s", key, value)
                await one.instance.sleep(1e-6)
            first = await one.gather()
            return first, await one.gather()

        (found, record), (none, _) = cluster(body, case.ranks, case.rng.choice([0, 1, 2, 5]))
        case.check(found)
        assert none == [] and not record["missing"] and record["foreign"] == 0
