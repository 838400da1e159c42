"""Stats of several streams, ranks and epochs at once: whatever is asked when, it shows what a model has noted."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.modules.metrics.live import Cluster, cluster

STREAMS = ("r", "s")
KEYS = [*"abcdef", {"m": "kvs", "t": 1}, {"m": "kvs", "t": 2}, {"m": "cron", "t": 1}]
OVERFLOW = '{"overflow": true}'


def text_of(key: Any) -> str:
    return json.dumps({"str": key} if isinstance(key, str) else key, sort_keys=True)


class Model:
    """One stat: what each rank has observed in this epoch, key by key and stream by stream."""

    def __init__(self, chance: random.Random, size: int, name: str) -> None:
        self.name = name
        self.streams = chance.choice([("s",), ("s",), ("r", "s")])
        self.ranks = sorted(chance.sample(range(size), chance.randint(1, size)))
        if chance.random() < 0.5:
            self.ranks = list(range(size))
        self.most = chance.choice([100, 100, 3])
        #: What a stat of one sum is counted with differs from all others.
        self.apply = chance.choice([["sum"], ["sum"], ["max", "sum", "unique"]])
        self.group = chance.choice([1, 2, 50])
        #: By rank and stream, the values of each key; ``extra`` holds what another rank has handed over.
        self.held: dict[tuple[int, str], dict[str, list[Any]]] = {}

    def definition(self) -> dict[str, Any]:
        reducers = [{"stream": one, "apply": self.apply} for one in self.streams]
        ranks = ",".join(map(str, self.ranks))
        return {
            "name": self.name, "reducers": reducers, "ranks": ranks, "max_keys": self.most, "group": self.group,
        }  # fmt: skip

    def observe(self, rank: int, stream: str, key: Any, value: Any) -> None:
        if stream not in self.streams:
            return
        table = self.held.setdefault((rank, stream), {})
        text = text_of(key)
        if text not in table and len(table.keys()) >= self.most:
            text = OVERFLOW
        table.setdefault(text, []).append(value)

    def rows(self) -> dict[str, dict[str, list[Any]]]:
        """Of the ranks it counts on: by key, the values of each stream."""
        found: dict[str, dict[str, list[Any]]] = {}
        for (rank, stream), table in self.held.items():
            if rank in self.ranks:
                for text, values in table.items():
                    found.setdefault(text, {one: [] for one in self.streams})[stream] += values
        return found

    def end(self) -> None:
        """An epoch: those who do not take part keep what they have."""
        self.held = {place: table for place, table in self.held.items() if place[0] not in self.ranks}

    def check(self, row: dict[str, Any], streams: dict[str, list[Any]]) -> None:
        for stream, values in streams.items():
            told = row["streams"][stream] if len(self.streams) > 1 else row
            numbers = [1 if isinstance(one, str) else one for one in values]
            assert (told["n"], told["sum"]) == (len(values), sum(numbers))
            if "max" in self.apply:
                assert told["max"] == (max(numbers) if values else None)
                assert told["unique"] == len(set(values))


def by_text(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({json.dumps(row["key"], sort_keys=True) for row in rows}) == len(rows)
    return {json.dumps(row["key"], sort_keys=True): row for row in rows}


@pytest.mark.parametrize("seed", range(20))
def test_each_look_and_each_epoch_shows_what_was_observed(seed):
    chance = random.Random(seed)
    size, fanout = chance.choice([(1, 2), (3, 1), (4, 2), (7, 2), (7, 0)])
    models = [Model(chance, size, f"t{at}") for at in range(chance.choice([1, 2]))]

    async def observe(one: Cluster) -> None:
        for _ in range(chance.randrange(12)):
            rank, stream, key = chance.randrange(size), chance.choice(STREAMS), chance.choice(KEYS)
            value = chance.choice([1, 1, 5, -3, 2**40, "x"])
            one.observe(rank, stream, key, value)
            for model in models:
                model.observe(rank, stream, key, value)

    async def show(one: Cluster) -> None:
        model, key = chance.choice(models), chance.choice(KEYS)
        wish = {"name": model.name, "key": key}
        told = await one.client.call("metrics.request-key", wish, chance.randrange(size))
        wanted = model.rows().get(text_of(key))
        assert (told["result"] is None) == (wanted is None), (told, wanted)
        if wanted is not None:
            model.check(told["result"], wanted)

    async def gather(one: Cluster) -> None:
        model = chance.choice(models)
        rows, record = await one.gather(model.name)
        wanted = model.rows()
        assert sorted(by_text(rows)) == sorted(wanted)
        for text, row in by_text(rows).items():
            model.check(row, wanted[text])
        assert record["rows"] == len(rows)
        model.end()

    async def top(one: Cluster) -> None:
        model = chance.choice([one for one in models if len(one.streams) == 1] or models)
        if len(model.streams) > 1:
            return
        by, top = chance.choice([None, ["m"], ["t", "str"]]), chance.choice([1, 2, 50])
        rows, _ = await one.gather(model.name, **({} if by is None else {"by": by}), top=top)
        thrown: dict[str, list[Any]] = {}
        for text, streams in model.rows().items():
            key = json.loads(text)
            text = text if by is None else json.dumps({name: key.get(name) for name in by}, sort_keys=True)
            thrown.setdefault(text, []).extend(streams["s"])
        found = by_text(rows)
        assert len(found) == min(top, len(thrown))
        for text, row in found.items():
            model.check(row, {"s": thrown[text]})
        first = model.apply[0]
        sizes = [float(row[first]) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
        model.end()

    async def body(one: Cluster) -> None:
        for model in models:
            await one.create(model.definition())
        for _ in range(25):
            await chance.choice([observe, observe, observe, show, gather, top])(one)
            await one.instance.sleep(chance.choice([0.0, 0.001]))

    cluster(body, size, fanout)
