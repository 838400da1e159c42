"""Thresholds seen during an epoch: never missed, never early, in few messages; the model has instant links."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from modules.metrics.slack import RankSlack, RootSlack


class Model:
    """Ranks and rank 0 with links that take no time; counts what is sent."""

    def __init__(self, levels: tuple[float, ...], ranks: int, holds: bool = True, grain: float = 1.0) -> None:
        self.ranks = [RankSlack(levels[0], ranks, holds, grain) for _ in range(ranks)]
        self.root = RootSlack(levels, ranks, holds, grain)
        self.values = [0.0] * ranks
        self.holds = holds
        self.reports = self.views = 0
        self.crossings: list[tuple[float, float]] = []

    @property
    def value(self) -> float:
        return sum(self.values) if self.holds else max(self.values)

    def observe(self, rank: int, by: float) -> None:
        before = self.values[rank]
        self.values[rank] = before + by if self.holds else max(before, by)
        told = self.ranks[rank].grew("k", self.values[rank] - before)
        if told is not None:
            self._report(told)

    def _report(self, told: float) -> None:
        self.reports += 1
        if not self.root.reported("k", told):
            return
        while True:
            self.views += 1
            for rank in self.ranks:
                rank.looked_at("k")
            level = self.root.seen("k", self.value)
            if level is not None:
                self.crossings.append((level, self.value))
            due = [more for rank in self.ranks if (more := rank.told("k", *self.root.slack("k"))) is not None]
            self.reports += len(due)
            again = [self.root.reported("k", more) for more in due]
            if not any(again) and not self.root.looks_again("k"):
                return


SOURCES = {
    "uniform": lambda chance, ranks: chance.randrange(ranks),
    "one rank": lambda chance, ranks: 0,
    "skewed": lambda chance, ranks: min(int(chance.expovariate(0.5)), ranks - 1),
}
STEPS = {
    "unit": lambda chance: 1,
    "mixed": lambda chance: chance.choice((1, 1, 1, 10)),
    "exponential": lambda chance: chance.expovariate(1.0),
}


def runs() -> Iterator[tuple[int, int, str, str]]:
    for level in (10, 100, 1000):
        for ranks in (1, 3, 16, 64):
            for source in SOURCES:
                for step in STEPS:
                    yield level, ranks, source, step


@pytest.mark.parametrize(("level", "ranks", "source", "step"), list(runs()))
def test_a_crossing_is_told_at_the_very_observation_that_makes_it(level, ranks, source, step):
    chance = random.Random(level * ranks)
    grain = 0.0 if step == "exponential" else 1.0
    model = Model((level,), ranks, grain=grain)
    while model.value < level:
        assert model.crossings == []
        model.observe(SOURCES[source](chance, ranks), STEPS[step](chance))
    assert [found for found, _ in model.crossings] == [level]
    before = model.reports
    for _ in range(100):
        model.observe(SOURCES[source](chance, ranks), 1)
    assert (len(model.crossings), model.reports) == (1, before)


@pytest.mark.parametrize(("ranks", "level", "reports", "views"), [(8, 1000, 45, 7), (64, 100_000, 600, 10)])
def test_few_messages_do(ranks, level, reports, views):
    chance = random.Random(1)
    model = Model((level,), ranks)
    while not model.crossings:
        model.observe(chance.randrange(ranks), 1)
    assert model.reports <= reports
    assert model.views <= views
    rounds = math.log2(level / (2 * ranks)) + 2
    assert model.reports <= rounds * (ranks + 1) + 2 * ranks


def steps(values: list[float], levels: tuple[float, ...]) -> list[tuple[float, float]]:
    """What a series of levels tells of values seen one by one: (level, value), at most one an observation."""
    found: list[tuple[float, float]] = []
    for value in values:
        if len(found) < len(levels) and value >= levels[len(found)]:
            found.append((levels[len(found)], value))
    return found


def test_a_series_moves_one_step_an_observation():
    model = Model((10, 20, 500), 1)
    for value in (12, 3, 1000):
        model.observe(0, value)
    assert model.crossings == [(10, 12), (20, 1015)]
    model.observe(0, 1)
    assert (
        model.crossings == [(10, 12), (20, 1015), (500, 1016)] == steps([12, 15, 1015, 1016], (10, 20, 500))
    )
    assert model.reports == 3  # after the last level nothing is told
    model.observe(0, 1000)
    assert (model.reports, len(model.crossings)) == (3, 3)


@pytest.mark.parametrize("seed", range(40))
def test_a_series_over_many_ranks_moves_as_the_sum_does(seed):
    chance = random.Random(seed)
    levels = tuple(sorted(chance.sample(range(1, 300), chance.randint(2, 6))))
    model = Model(levels, chance.choice((1, 2, 5, 16)))
    values = []
    for _ in range(60):
        model.observe(chance.randrange(len(model.ranks)), chance.choice((1, 1, 2, 60)))
        values.append(model.value)
    assert model.crossings == steps(values, levels)


def test_what_a_rank_told_that_is_missing_now_is_looked_at_once_a_report():
    root = RootSlack((8.0,), 2, True)
    assert root.reported("k", 9.0)  # of a rank that answers no look any more
    assert root.seen("k", 5.0, is_whole=False) is None
    assert not root.looks_again("k")
    assert root.slack("k") == (0.0, 8.0)  # each observation is told, none that adds nothing
    assert root.reported("k", 1.0)
    assert root.seen("k", 8.0, is_whole=False) == 8.0


def test_a_maximum_is_told_by_the_rank_that_reaches_it_alone():
    model = Model((10,), 4, holds=False)
    for rank, value in ((0, 9), (1, 9), (2, 9)):
        model.observe(rank, value)
    assert (model.reports, model.crossings) == (0, [])
    model.observe(3, 11)
    assert (model.reports, model.crossings) == (1, [(10, 11)])


def test_an_epoch_s_end_resets_all_but_what_has_not_fallen():
    root = RootSlack((5.0,), 1, True)
    for key in ("a", "b"):
        assert root.reported(key, 7.0)
        assert root.seen(key, 7.0) == 5.0
    assert root.crossed == ["a", "b"]
    root.reset(lambda key: key == "a")
    assert root.crossed == ["a"]
    assert not root.reported("a", 9.0)
    assert root.reported("b", 9.0)
