"""The shipped plugin state-counts: what each form and style sends while jobs pass."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from brokersim.protocol.errnums import RequestError
from brokersim.statsd.aggregator import Aggregator
from tests.modules.job_harness import in_instance, outcome, submit

STATES = ("new", "depend", "priority", "sched", "run", "cleanup", "inactive")


def sent(instance: Any) -> list[tuple[float, bytes]]:
    return [(t, packet) for t, packet in instance.sink.packets if packet.startswith(b"flux.job-states.")]


async def run_jobs(client: Any, jobs: int, **conf: Any) -> None:
    await client.call("job-manager.jobtap-load", {"path": "state-counts", "conf": conf})
    for _ in range(jobs):
        await outcome(client, await submit(client))


def states_after(packets: list[tuple[float, bytes]]) -> dict[str, Any]:
    server = Aggregator("etsy")
    for t, packet in packets:
        server.feed(packet, t=t)
    gauges = server.flush(1e6).gauges
    return {name.removeprefix("flux.job-states."): value for name, value in gauges.items()}


def test_the_timer_sends_all_seven_counts_each_period_as_one_packet() -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 3, period=0.5)
        start = len(sent(instance))
        await instance.sleep(2.0)
        packets = sent(instance)[start:]
        assert len(packets) == 4
        times = [t for t, _ in packets]
        assert [round(b - a, 6) for a, b in itertools.pairwise(times)] == [0.5] * 3
        lines = packets[-1][1].decode().split("\n")
        assert lines == [f"flux.job-states.{state}:{3 if state == 'inactive' else 0}|g" for state in STATES]

    in_instance(test, stats="mem:")


def test_without_job_new_the_new_count_sinks_and_the_server_adds_up_what_it_takes_for_decrements() -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 4, form="journal", period=1.0)
        await instance.sleep(10.0)
        packets = sent(instance)
        values = [int(packet.split(b"\n")[0].split(b":")[1].split(b"|")[0]) for _, packet in packets]
        assert values[-1] == -4
        assert states_after(packets)["new"] == sum(values) <= -40

    in_instance(test, stats="mem:")


def test_the_fixed_form_never_sends_a_number_below_0_and_sums_to_the_jobs() -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 5, hook="prepare")
        packets = sent(instance)
        assert all(b":-" not in packet for _, packet in packets)
        sums = [sum(int(line.split(b":")[1][:-2]) for line in packet.split(b"\n")) for _, packet in packets]
        assert sums == sorted(sums)
        assert sums[-1] == 5
        assert states_after(packets) == dict.fromkeys(STATES, 0) | {"inactive": 5}

    in_instance(test, stats="mem:")


@pytest.mark.parametrize("hook", ["prepare", "check"])
def test_a_hook_sends_only_when_a_count_changed(hook: str) -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 2, hook=hook)
        await instance.sleep(5.0)
        packets = [packet for _, packet in sent(instance)]
        assert len(packets) > 4
        assert all(a != b for a, b in itertools.pairwise(packets))

    in_instance(test, stats="mem:")


@pytest.mark.parametrize("period", [0, 1.0])
def test_increments_leave_the_server_at_the_counts_with_our_client(period: float) -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 3, style="increments", period=period)
        await instance.sleep(3.0)
        packets = sent(instance)
        assert b"+" in packets[0][1]
        assert states_after(packets)["inactive"] == 3
        assert not any(states_after(packets).get(state, 0) for state in STATES[:-1])

    in_instance(test, stats="mem:")


def test_removed_it_sends_no_more() -> None:
    async def test(instance: Any, client: Any) -> None:
        await run_jobs(client, 1, period=0.1)
        await instance.sleep(1.0)
        await client.call("job-manager.jobtap-remove", {"name": "state-counts"})
        before = len(sent(instance))
        await outcome(client, await submit(client))
        await instance.sleep(3.0)
        assert before
        assert len(sent(instance)) == before

    in_instance(test, stats="mem:")


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"form": "new"}, "setting form=new: give fixed or journal"),
        ({"period": "soon"}, "setting period=soon"),
        ({"period": -1}, "give seconds, 0 or more"),
        ({"period": 0}, "needs a period above 0"),
        ({"style": "increments", "hook": "check"}, "give no hook"),
        ({"perod": 1}, "unknown setting 'perod'"),
    ],
)
def test_wrong_settings_are_refused_by_name(conf: dict[str, Any], told: str) -> None:
    async def test(_instance: Any, client: Any) -> None:
        with pytest.raises(RequestError) as failed:
            await run_jobs(client, 0, **conf)
        assert told in failed.value.text

    in_instance(test, stats="mem:")


def test_the_history_has_every_transition_with_its_time() -> None:
    async def test(instance: Any, client: Any) -> None:
        await client.call("job-manager.jobtap-load", {"path": "state-history"})
        for _ in range(2):
            await outcome(client, await submit(client))
        found = await client.call("job-manager.jobtap-query", {"name": "state-history"})
        history = found["history"]
        assert len(history) == 14
        assert [entered for _, _, entered in history[:7]] == [state.upper() for state in STATES]
        assert [left for _, left, _ in history[:7]] == [None, *(state.upper() for state in STATES[:-1])]
        assert [t for t, _, _ in history] == sorted(t for t, _, _ in history)

    in_instance(test)


def test_absolute_counts_by_a_timer_need_a_period() -> None:
    async def test(instance: Any, client: Any) -> None:
        with pytest.raises(RequestError, match="style=absolute needs a period above 0"):
            await run_jobs(client, 0, period=0)

    in_instance(test, stats="mem:")
