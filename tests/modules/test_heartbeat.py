"""The heartbeat: its period, what a beat costs in messages, and who hears it."""

from __future__ import annotations

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, errnums
from modules.heartbeat.period import Table, heartbeat_period, in_table


def test_the_argument_beats_the_attribute_and_the_default_is_two_seconds():
    assert heartbeat_period((), None) == 2.0
    assert heartbeat_period((), "500ms") == 0.5
    assert heartbeat_period(("period=1m",), "500ms") == 60.0


def test_a_timeout_may_be_two_periods_and_no_less_and_a_warning_comes_after_one_beat_or_more():
    table = {"period": "5s", "timeout": "10s", "warn_thresh": 1}
    assert in_table({"heartbeat": table}, 2.0) == Table(period=5.0, timeout=10.0, warn_thresh=1)
    for wrong, says in (({"timeout": "9.9s"}, "must be >= 2"), ({"warn_thresh": 0}, "must be positive")):
        with pytest.raises(ValueError, match=says):
            in_table({"heartbeat": {**table, **wrong}}, 2.0)


@pytest.mark.parametrize(
    ("args", "attribute", "says"),
    [
        (("periode=2s",), None, "unknown argument 'periode=2s'"),
        (("period=soon",), None, "not a duration: 'soon'"),
        ((), "0", "1 ms or more"),
        (("period=inf",), None, "1 ms or more and finite"),
    ],
)
def test_a_period_that_cannot_be_is_named_with_what_would_be_right(args, attribute, says):
    with pytest.raises(ValueError, match=says):
        heartbeat_period(args, attribute)


def counts_after(seconds, *args):
    async def main():
        async with open_instance(modules=[]) as instance:
            await instance.load("heartbeat", *args)
            await instance.sleep(0.01)  # the answers to its start-up requests
            handle = instance.module(0, "heartbeat").handle
            before = list(handle.counts)
            await instance.sleep(seconds)
            return [after - start for after, start in zip(handle.counts, before, strict=True)]

    return run(main)


@pytest.mark.parametrize(("args", "seconds", "beats"), [((), 60, 30), (("period=500ms",), 10, 20)])
def test_a_beat_costs_one_request_sent_and_one_response_received(args, seconds, beats):
    tx_request, rx_request, tx_response, rx_response, *events_and_control = counts_after(seconds, *args)
    assert (tx_request, rx_response) == (beats, beats)
    assert (rx_request, tx_response, events_and_control) == (0, 0, [0, 0, 0, 0])


def test_every_rank_hears_every_beat():
    async def main():
        async with open_instance(size=3, modules=["heartbeat", "content-cache"]) as instance:
            await instance.sleep(1)
            before = [instance.module(rank, "content-cache").handle.counts[5] for rank in range(3)]
            await instance.sleep(20)
            after = [instance.module(rank, "content-cache").handle.counts[5] for rank in range(3)]
            return [end - start for start, end in zip(before, after, strict=True)]

    assert run(main) == [10, 10, 10]


def test_the_period_can_be_changed_while_it_beats():
    async def main():
        async with open_instance(modules=["heartbeat"]) as instance:
            client = instance.client()
            assert await client.call("heartbeat.period") == {"period": 2.0}
            assert await client.call("heartbeat.period", {"period": 0.25}) == {"period": 0.25}
            before = (await client.call("heartbeat.stats-get"))["beats"]
            await instance.sleep(10)
            after = (await client.call("heartbeat.stats-get"))["beats"]
            with pytest.raises(RequestError, match="1 ms or more"):
                await client.call("heartbeat.period", {"period": 0})
            return after - before

    assert run(main) == 40


def test_a_bad_argument_fails_the_load_with_one_clear_line():
    async def main():
        async with open_instance(modules=[]) as instance:
            with pytest.raises(RequestError) as refused:
                await instance.load("heartbeat", "period=never")
            return refused.value

    error = run(main)
    assert error.errno == errnums.EINVAL
    assert "module 'heartbeat': not a duration: 'never'" in error.text


def reconfigured(*tables):
    """(errnum, period, timeout, warn_thresh) after each configuration in turn."""

    async def main():
        async with open_instance(modules=["heartbeat"]) as instance:
            client = instance.client()
            seen = []
            for table in tables:
                errnum = 0
                try:
                    await client.call("config.load", table)
                except RequestError as error:
                    errnum = error.errno
                stats = await client.call("heartbeat.stats-get")
                seen.append((errnum, stats["period"], stats["timeout"], stats["warn_thresh"]))
            client.close()
            return seen

    return run(main)


def test_the_configuration_sets_the_period_and_takes_it_back():
    seen = reconfigured(
        {"heartbeat": {"period": "5s", "timeout": "1m", "warn_thresh": 10}},
        {"heartbeat": {"timeout": "infinity"}},
        {"heartbeat": {"timeout": "0"}},
        {},
    )
    assert seen == [(0, 5.0, 60.0, 10), (0, 2.0, -1.0, 3), (0, 2.0, -1.0, 3), (0, 2.0, 300.0, 3)]


@pytest.mark.parametrize(
    "table",
    [{"period": 4}, {"period": "zzz"}, {"period": "0s"}, {"z": 42}, {"timeout": 42}, {"timeout": "3s"},
     {"warn_thresh": -1}, {"warn_thresh": "3"}, 7],
    ids=str,
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused_and_changes_nothing(table):
    before = {"heartbeat": {"period": "5s"}}
    assert reconfigured(before, {"heartbeat": table}) == [(0, 5.0, 300.0, 3), (errnums.EINVAL, 5.0, 300.0, 3)]


def test_a_period_beyond_the_timeout_needs_no_table():
    async def main():
        async with open_instance(modules=["heartbeat"], attrs={"heartbeat.period": "1h"}) as instance:
            return await instance.client().call("heartbeat.stats-get")

    assert run(main)["period"] == 3600.0


def test_beats_come_in_the_new_period():
    async def main():
        async with open_instance(modules=["heartbeat"]) as instance:
            client = instance.client()
            await client.call("config.load", {"heartbeat": {"period": "100ms"}})
            before = (await client.call("heartbeat.stats-get"))["beats"]
            await instance.sleep(1.05)
            after = (await client.call("heartbeat.stats-get"))["beats"]
            client.close()
            return after - before

    assert run(main) == 10


def test_a_table_that_names_no_period_means_the_default_not_the_argument():
    async def main():
        async with open_instance(modules=[]) as instance:
            await instance.load("heartbeat", "period=10s")
            client = instance.client()
            seen = []
            for table in ({"heartbeat": {}}, {}):
                await client.call("config.load", table)
                seen.append((await client.call("heartbeat.stats-get"))["period"])
            client.close()
            return seen

    assert run(main) == [2.0, 10.0]
