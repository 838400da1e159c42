"""Overlap at any read time, against a model made of the specification's words: a plain list of ticks, walked once.

``skip``: a tick that falls inside a run is dropped. ``delay``: run at once when free, due ticks merged, none starts
after the window. ``catch-up``: every tick runs, back to back. A run from 0 to 3 has 0 inside it, and 3 not.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.modules.probe.harness import lined, probing, run, samples


def skipping(ticks, duration, _end):
    free, starts, overrun = 0, [], 0
    for tick in ticks:
        if tick >= free:
            starts.append(tick)
            free = tick + duration
        else:
            overrun += 1
    return starts, {"overrun": overrun}


def delaying(ticks, duration, end):
    starts, late, merged, overrun, now, rest = [], 0, 0, 0, 0, list(ticks)
    while rest:
        now = max(now, rest[0])
        due = [tick for tick in rest if tick <= now]
        rest = rest[len(due) :]
        if now > due[0] and now >= end:
            overrun += 1
            merged += len(due) - 1
            continue
        starts.append(now)
        late += now > due[0]
        merged += len(due) - 1
        now += duration
    return starts, {"late": late, "merged": merged, "overrun": overrun}


def catching_up(ticks, duration, _end):
    starts, late, now = [], 0, 0
    for tick in ticks:
        late += now > tick
        now = max(now, tick)
        starts.append(now)
        now += duration
    return starts, {"late": late}


MODELS = {"skip": skipping, "delay": delaying, "catch-up": catching_up}


@pytest.mark.parametrize("policy", MODELS)
def test_the_models_give_the_table_of_the_specification(policy):
    wanted = {
        "skip": ([0, 4, 8], {"overrun": 2}),
        "delay": ([0, 3, 6, 9], {"late": 3, "merged": 1, "overrun": 0}),
        "catch-up": ([0, 3, 6, 9, 12], {"late": 4}),
    }
    assert MODELS[policy](range(0, 10, 2), 3, 10) == wanted[policy]


def measured(tmp_path, policy, every, window, duration):
    """Starts in ms from the first tick, and counts, of a dummy that sleeps ``duration`` ms."""
    path = tmp_path / "lines.jsonl"
    path.unlink(missing_ok=True)

    async def main():
        async with probing(path) as (instance, client):
            start = instance.broker(0).instance.epoch + instance.reactor.now / 1e9
            spec = {"type": "nested", "params": {"spec": ["P", every / 1000, window / 1000]}}
            record = lined("dummy", spec, {"duration": duration / 1000}, overlap=policy, timeout=1000)
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep((window + duration * (window // every + 2)) / 1000 + 1)
            return start, (await client.call("probe.status", {"name": "m"}))["measurements"][0]

    start, status = run(main)
    assert status["state"] == "DONE"
    return [round((one["ts"] - start) * 1000, 2) for one in samples(path)], status["counts"]


@pytest.mark.parametrize("policy", MODELS)
@settings(max_examples=examples(25), deadline=None)
@given(every=st.integers(1, 6), ticks=st.integers(1, 9), rest=st.integers(0, 5), duration=st.integers(1, 20))
def test_runs_start_when_the_words_say_at_any_read_time(
    tmp_path_factory, policy, every, ticks, rest, duration
):
    # Tens of ms in the model: whole numbers, so that ties are ties.
    every, duration = every * 10, duration * 10
    window = every * (ticks - 1) + 1 + min(rest * 10, every - 1)
    starts, counts = MODELS[policy](range(0, window, every), duration, window)
    found, told = measured(tmp_path_factory.getbasetemp(), policy, every, window, duration)
    assert found == pytest.approx(starts, abs=0.01)
    kinds = ("overrun", "late", "merged")
    assert {kind: told.get(kind, 0) for kind in kinds} == {kind: counts.get(kind, 0) for kind in kinds}
    assert told["runs"] == len(starts)
