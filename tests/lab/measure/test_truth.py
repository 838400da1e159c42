"""What is recorded is what happened, watching changes nothing, and emissions derived from it are the real ones."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.lab.measure.listener import is_counters
from brokersim.lab.measure.pipeline import calls, client_packets
from brokersim.lab.measure.series import US
from brokersim.lab.measure.truth import (
    COUNTER_KEYS,
    STATE_KEYS,
    WORKLOADS,
    Recorder,
    Truth,
    period_of,
    record,
)
from brokersim.program import open_instance, run
from brokersim.statsd.packet import GaugeBlock

JOBS = 12


@pytest.fixture(scope="module")
def truth() -> Truth:
    return record("bulk", JOBS, 0)


def states_at(truth: Truth, index: int) -> dict[str, int]:
    row = truth.states.track.row(index)
    return {key.rpartition(".")[2]: value for key, value in zip(STATE_KEYS, row, strict=True)}


def test_every_job_passes_through_seven_states_and_the_states_always_sum_to_the_jobs_so_far(truth: Truth):
    rows = truth.states.track.rows
    assert len(rows) == 7 * JOBS
    sums = [sum(row) for row in rows]
    assert sums == sorted(sums)
    assert sums[-1] == JOBS
    assert states_at(truth, len(rows)) == dict.fromkeys(states_at(truth, 0), 0) | {"inactive": JOBS}


def test_depend_and_priority_take_no_time_but_were_visited_by_every_job(truth: Truth):
    steps = truth.states.track.steps()
    for state in ("depend", "priority"):
        curve = steps[f"flux.job-states.{state}"]
        assert curve.peak(truth.horizon) == 0
        assert len(curve.visits()) == JOBS


def test_no_more_jobs_run_than_there_are_cores(truth: Truth):
    assert 1 <= truth.states.track.steps()["flux.job-states.run"].peak(truth.horizon) <= 16


def test_the_same_seed_gives_the_same_truth_and_another_one_does_not(truth: Truth):
    assert record("bulk", JOBS, 0) == truth != record("bulk", JOBS, 1)


def test_every_workload_ends_before_its_horizon_and_leaves_a_tail():
    for workload in WORKLOADS:
        found = record(workload, 3, 0)
        assert 0 < found.end * 1.2 < found.horizon
        assert found.horizon % (10 * US) == 0
        assert found.counters.track.rows, workload


def test_content_store_timings_are_recorded_one_by_one(truth: Truth):
    samples = truth.samples["flux.content-cache.store"]
    assert len(samples) > JOBS
    # The recording goes on for 10 ms after the last change.
    assert all(0 <= t <= truth.end + 10_001 and ms > 0 for t, ms in samples)


def test_an_unknown_workload_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="there are bulk, serial, burst, chatty"):
        record("bursty", 1, 0)


@pytest.mark.parametrize(("emission", "period"), [("prepare", 0), ("idle", 0), ("timer:25ms", 25_000)])
def test_the_period_of_an_emission(emission: str, period: int):
    assert period_of(emission) == period


@pytest.mark.parametrize("emission", ["timer", "timer:0", "timer:0.1us", "poll", "timer:0.0000001"])
def test_what_is_no_emission_is_refused(emission: str):
    with pytest.raises(ValueError, match="timer"):
        period_of(emission)


# -- the independent witness: the broker's own instrument in the same run


async def _with_instrument(hook: str) -> tuple[list[tuple[int, bytes]], Truth]:
    async with open_instance(hook=hook, stats="mem:", seed=5) as instance:
        client = instance.client()
        await client.call("kvs.debug", {"op": "setbit", "flags": MSGCOUNT})
        client.close()
        await instance.sleep(0.5)
        sink: Any = instance.sink
        seen, start = len(sink.packets), instance.reactor.now
        recorder = Recorder(instance)
        await serial_jobs_inside(instance, 4, 0.1)
        await instance.sleep(2.1)
        real = [
            (round(t * US) - start // 1000, packet)
            for t, packet in sink.packets[seen:]
            if is_counters(packet)
        ]
        return real, recorder.truth("serial", 4, 5)


@pytest.mark.parametrize("hook", ["prepare", "check", "timer:37.3ms"])
def test_emissions_derived_from_the_truth_are_the_packets_the_instrument_sent(hook: str):
    real, truth = run(_with_instrument, hook)
    # The instrument's timer began half a second, and what loading took, before the recording.
    # 37.3 ms: its ticks never fall on the whole milliseconds at which jobs change, where order would matter.
    phase = real[0][0] % period_of(hook) if period_of(hook) else 0
    emissions = truth.counters.emissions(hook, phase, truth.horizon)
    derived = client_packets(
        calls(truth.counters.track, emissions, "absolute"), style="absolute", period=0, horizon=truth.horizon
    )
    # A check hook may still have to tell of what happened before the recording.
    told_late = GaugeBlock(COUNTER_KEYS).format(truth.counters.track.first)
    real = [each for each in real if each[1] != told_late]
    assert len(real) >= 10
    assert derived == real


def test_recording_does_not_change_what_it_records():
    async def counts(watch: bool) -> list[list[int]]:
        async with open_instance(stats="mem:", seed=5) as instance:
            if watch:
                Recorder(instance)
            await serial_jobs_inside(instance, 3, 0.1)
            return [list(module.handle.counts) for module in instance.modules(0)] + [[instance.reactor.now]]

    assert run(counts, True) == run(counts, False)


def test_the_shutdown_behind_a_recording_is_no_part_of_it(truth: Truth):
    assert truth.counters.track.times[-1] <= truth.end
    assert truth.states.marks["prepare"][-1][1] == len(truth.states.track.rows)


def test_the_last_counters_recorded_are_the_modules_own(truth: Truth):
    assert truth.counters.track.names == COUNTER_KEYS
    last = dict(zip(COUNTER_KEYS, truth.counters.track.rows[-1], strict=True))
    assert last["flux.kvs.0.request_rx"] >= last["flux.kvs.0.response_tx"] > 0
