"""Thresholds on instances: what is told of a key, when, once; series, hysteresis, a quorum; a model of all of them."""

from __future__ import annotations

import random

import pytest
import trio

from tests.modules.metrics.live import Cluster, cluster


def test_a_crossing_is_an_event_a_line_in_the_log_and_told_once():
    async def body(one: Cluster) -> None:
        await one.create(epoch=60.0, threshold={"value": "sum", "at": 100})
        await one.client.call("event.subscribe", {"topic": "metrics.crossed"})
        told = one.follow()
        for at in range(150):
            one.observe(at % 3, "s", "k", 1)
            await one.instance.sleep(0.01)
        crossings = [value for what, value in told if what == "crossed"]
        assert [(one["key"], one["value"], one["level"]) for one in crossings] == [({"str": "k"}, 100, 100)]
        assert any("t: str=k: 100 has reached 100" in line for line in one.instance.broker(0).log.lines())
        await one.instance.sleep(60.0)
        assert [what for what, _ in told] == ["crossed", "row", "record"]
        for _ in range(120):
            one.observe(1, "s", "k", 1)
        await one.instance.sleep(0.1)
        assert [what for what, _ in told].count("crossed") == 2  # a new epoch, a new crossing

    cluster(body)


#: Values of one key as they are observed, one by one, and what the value watched is after each.
SERIES = {
    "sum": ([12, 3, 1000, 0, 1], [12, 15, 1015, 1015, 1016]),
    "n": ([5] * 6, [1, 2, 3, 4, 5, 6]),
    "max": ([1015, 3, 4, 2000], [1015, 1015, 1015, 2000]),
    "unique": (["a", "b", "b", "a", "c"], [1, 2, 2, 2, 3]),
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("value", SERIES)
@pytest.mark.parametrize("levels", [(10, 20, 500), (1, 2, 2.5), (2, 1016)])
def test_a_series_moves_one_step_an_observation_wherever_it_is_made(size, value, levels):
    async def body(one: Cluster) -> None:
        source = {"stream": "s", "apply": [*{value, "sum"} - {"n"}]}
        await one.create(epoch=600.0, reducers=[source], threshold={"value": value, "series": levels})
        told = one.follow()
        observed, values = SERIES[value]
        wanted: list[tuple[float, float]] = []
        for at, (seen, now) in enumerate(zip(observed, values, strict=True)):
            one.observe(at % size, "s", "k", seen)
            await one.instance.sleep(0.2)
            if len(wanted) < len(levels) and now >= levels[len(wanted)]:
                wanted.append((levels[len(wanted)], now))
            assert [(one["level"], one["value"]) for what, one in told if what == "crossed"] == wanted, at

    cluster(body, size=size)


#: What a value that only grows is of all that was observed of a key.
GROWING = {
    "sum": sum, "n": len, "max": max, "unique": lambda seen: len(set(seen)), "7": lambda seen: 7,
    "sum + n": lambda seen: sum(seen) + len(seen),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("value", GROWING)
def test_thresholds_are_told_as_a_model_of_all_observations_says(seed, value):
    chance = random.Random(f"{seed}/{value}")
    size = chance.choice((1, 2, 5))
    levels = sorted(chance.sample(range(1, 120), chance.choice((1, 1, 3, 5))))
    at = {"at": levels[0]} if len(levels) == 1 else {"series": levels}
    low = levels[0] / 2 if seed > 3 else None
    if low is not None:
        at["hysteresis"] = low

    async def body(one: Cluster) -> None:
        source = {"stream": "s", "apply": ["sum", "max", "unique"]}
        await one.create(epoch=3600.0, reducers=[source], threshold={"value": value, **at})
        told = one.follow()
        wanted: list[tuple[str, float, float]] = []
        seen: dict[str, list[int]] = {}
        steps: dict[str, int] = {}

        def look(key: str) -> None:
            now, step = GROWING[value](seen[key]), steps.get(key, 0)
            if step < len(levels) and now >= levels[step]:
                wanted.append((key, now, levels[step]))
                steps[key] = step + 1

        for _ in range(3):
            for _ in range(chance.choice([25, 25, 3])):
                key, number = chance.choice("ab"), chance.choice((0, 1, 2, 5, 60))
                seen.setdefault(key, []).append(number)
                one.observe(chance.randrange(size), "s", key, number)
                await one.instance.sleep(0.2)
                look(key)
                found = [
                    (each["key"]["str"], each["value"], each["level"])
                    for what, each in told
                    if what == "crossed"
                ]
                assert found == wanted
            await one.gather()
            for key in sorted(seen):
                look(key)  # the rows of an epoch are one more look
            for key in [
                key for key in steps if low is None or key not in seen or GROWING[value](seen[key]) < low
            ]:
                del steps[key]
            seen.clear()

    cluster(body, size=size)


def test_a_sum_that_falls_is_judged_at_the_end_of_its_epoch():
    async def body(one: Cluster) -> None:
        await one.create(epoch=10.0, threshold={"value": "sum", "at": 10})
        told = one.follow()
        one.observe(1, "s", "k", -1)
        await one.instance.sleep(0.1)
        one.observe(2, "s", "k", 50)
        await one.instance.sleep(1.0)
        assert told == []
        await one.instance.sleep(10.0)
        assert [what for what, _ in told] == ["crossed", "row", "record"]
        assert (told[0][1]["value"], told[2][1]["watch_off"]) == (49, True)

    cluster(body)


def test_a_ratio_is_judged_when_an_epoch_ends_and_creation_says_so():
    async def body(one: Cluster) -> None:
        answer = await one.create(threshold={"value": "sum / n", "at": 5})
        assert answer["note"] == "it can fall: judged when an epoch ends"
        told = one.follow()
        one.observe(1, "s", "k", 9)
        one.observe(2, "s", "k", 3)
        await one.instance.sleep(1.0)
        assert told == []
        await one.gather()
        await one.instance.sleep(0.1)
        assert [what for what, _ in told] == ["crossed", "row", "record"]

    cluster(body)


def test_with_a_hysteresis_what_stays_high_is_told_once():
    async def body(one: Cluster) -> None:
        await one.create(threshold={"value": "sum", "at": 10, "hysteresis": 5})
        told = one.follow()
        crossed = []
        for value in (20, 20, 3, 20):
            one.observe(1, "s", "k", value)
            await one.gather()
            await one.instance.sleep(0.1)
            crossed.append([what for what, _ in told].count("crossed"))
        assert crossed == [1, 1, 1, 2]

    cluster(body)


@pytest.mark.parametrize("after", [1e-4, 1e-3])
@pytest.mark.parametrize("before", [20, 4])
def test_with_a_hysteresis_nothing_is_told_of_an_epoch_before_the_rows_of_the_last_are_there(before, after):
    async def body(one: Cluster) -> None:
        await one.create(threshold={"value": "sum", "at": 10, "hysteresis": 5}, group=1)
        told = one.follow()
        for at in range(300):
            one.observe(1, "s", f"z{at}", 1)
        one.observe(2, "s", "k", before)
        await one.instance.sleep(1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.gather)
            await one.instance.sleep(after)
            assert one.module()._root.courses["t"].open is not None
            one.observe(2, "s", "k", 20)
        await one.instance.sleep(1.0)
        # It has stayed high, or it has fallen and is told, once.
        crossed = [(value["epoch"], value["value"]) for what, value in told if what == "crossed"]
        assert crossed == [(1 if before == 20 else 2, 20)]
        await one.gather()
        await one.instance.sleep(0.1)
        assert len([what for what, _ in told if what == "crossed"]) == 1

    cluster(body)


@pytest.mark.parametrize("value", ["sum / 1", "sum"])  # judged at the end, and watched during the epoch
def test_below_its_quorum_rows_are_told_and_no_crossing(value):
    async def body(one: Cluster) -> None:
        reducers = [{"stream": "s", "apply": ["sum"]}]
        await one.create(reducers=reducers, quorum=0.9, threshold={"value": value, "at": 10})
        told = one.follow()
        one.observe(2, "s", "j", 20)
        await one.instance.sleep(0.1)
        before = len(told)
        await one.instance.remove("metrics", 2)
        one.observe(1, "s", "k", 20)
        await one.instance.sleep(0.1)
        _, record = await one.gather()
        await one.instance.sleep(0.1)
        assert (record["stale"], record["is_quorate"]) == ("2", False)
        assert [what for what, _ in told[before:]] == ["row", "row", "record"]
        assert before == (value == "sum")
        await one.instance.load("metrics", rank=2)
        await one.instance.sleep(0.1)
        one.observe(1, "s", "k", 20)
        await one.instance.sleep(0.1)
        await one.gather()
        await one.instance.sleep(0.1)
        assert [what for what, _ in told].count("crossed") == before + 1

    cluster(body)
