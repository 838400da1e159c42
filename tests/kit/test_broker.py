"""What a test can do with a broker: wait, trace, expect metrics, load modules that misbehave."""

from __future__ import annotations

import pytest

from brokersim.protocol.errnums import EHOSTUNREACH, ENOENT, RequestError
from brokersim.testing import Impatient, at_least, modules, with_broker
from tests.modules.job_harness import envelope, jobspec

ROOT = {"namespace": "primary", "flags": 0}


async def test_waiting_for_a_counter_takes_virtual_time_only(broker):
    assert await broker.wait_counter("kvs.0.event_rx", ge=3) == 3
    assert broker.instance.reactor.now == 6_000_000_000
    assert await broker.wait_counter("kvs.0.event_rx:heartbeat.pulse", ge=1) == 3
    with pytest.raises(Impatient, match=r"kvs\.0\.request_tx is 6, waited for 99 within 3 s"):
        await broker.wait_counter("kvs.0.request_tx", ge=99, timeout=3)


@pytest.mark.brokersim(modules=["content-cache", "content-sqlite", "kvs"])
async def test_waiting_for_what_cannot_come_says_so(broker):
    with pytest.raises(Impatient, match="nothing is under way or due any more"):
        await broker.wait_counter("kvs.0.event_rx", ge=1)


async def test_waiting_for_a_job_and_tracing_what_it_made(broker):
    job = (await broker.rpc("job-ingest.submit", {"J": envelope(jobspec(duration=1))}))["id"]
    await broker.wait_job(job, "RUN")
    await broker.wait_job(job)
    assert 1 <= broker.instance.reactor.now / 1e9 < 2
    starts = broker.trace("job-exec", topic="job-exec.start")
    assert [str(line).split()[1:5] for line in starts[:2]] == [
        ["job-exec.0", "rx", ">", "job-exec.start"],
        ["job-exec.0", "tx", "<", "job-exec.start"],
    ]


@pytest.mark.brokersim(mask={"kvs": 0x1000})
async def test_metrics_are_expected_by_name_glob_and_range(broker):
    with broker.expect_metrics({"flux.kvs.0.request_rx": at_least(1), "flux.kvs.0.*": None}) as seen:
        await broker.rpc("kvs.getroot", ROOT)
        await broker.settle()
    assert len(seen.metrics) == 8 * len(seen.packets)
    wrong = broker.expect_metrics({"flux.kvs.0.request_rx": 99, "nobody": 1})
    with pytest.raises(AssertionError) as caught, wrong:
        await broker.rpc("kvs.getroot", ROOT)
    assert "flux.kvs.0.request_rx  got" in str(caught.value) and "nobody  got nothing" in str(caught.value)


async def test_modules_misbehave_as_they_say(broker):
    await broker.load(modules.SLOW, "seconds=2.5")
    await broker.load(modules.FLOODING, "number=7")
    await broker.load(modules.CRASHING)
    assert await broker.rpc("slow.ask", {"a": 1}) == {"a": 1}
    assert broker.instance.reactor.now == 2_500_000_000
    with broker.deltas("flooding") as d:
        assert await broker.rpc("flooding.ask") == {"sent": 14}
    assert d == {"request_rx": 8, "request_tx": 7, "response_tx": 1, "event_tx": 7}
    with pytest.raises(RequestError) as caught:
        await broker.rpc("crashing.ask")
    assert caught.value.errno == EHOSTUNREACH
    for path in (modules.SLOW, modules.FLOODING):
        with pytest.raises(RequestError, match="the only one is"):
            await broker.load(path, "colour=red", name="again")


def test_without_pytests_fixtures_a_test_is_run_and_judged():
    async def test(broker):
        await broker.load(modules.LEAKING)
        await broker.rpc("leaking.ask")
        return broker.instance.size

    assert with_broker(test, size=2, laws={"pending": "it leaks"}) == 2
    with pytest.raises(AssertionError, match="law pending"):
        with_broker(test)


async def test_deltas_of_a_module_that_is_not_there_name_those_that_are(broker):
    with (
        pytest.raises(ValueError, match=r"no module 'kv' to watch; loaded are heartbeat\.0"),
        broker.deltas("kv"),
    ):
        pass


def test_a_mask_for_a_module_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="mask: no module 'kv' is loaded"):
        with_broker(None, mask={"kv": 1})


@pytest.mark.parametrize("transport", ["memory", "unix"])
def test_a_stream_is_its_answers_if_it_ends_well_and_is_waited_for_no_longer_than_asked(transport):
    async def test(broker):
        assert await broker.stream("log.dmesg", {"follow": False})
        with pytest.raises(RequestError) as caught:
            await broker.stream("job-info.eventlog-watch", {"id": 1, "path": "eventlog", "flags": 0})
        assert caught.value.errno == ENOENT
        broker.relax("pending", "who waited has given up")
        broker.relax("answered", "who waited has given up")
        with pytest.raises(Impatient, match=r"no end of the stream log\.dmesg within 2 s"):
            await broker.stream("log.dmesg", {"follow": True}, timeout=2)
        assert await broker.rpc("kvs.getroot", ROOT)

    with_broker(test, transport=transport)


def test_a_snapshot_is_kept_by_test_and_so_only_with_pytest():
    async def test(broker):
        with pytest.raises(RuntimeError, match="snapshots need pytest"):
            broker.snapshot()

    with_broker(test)


async def test_an_event_that_is_waited_for_is_the_next_and_stays(broker):
    await broker.subscribe("mine")
    for topic in ("mine.first", "mine.other"):
        await broker.publish(topic)
        await broker.settle()
    with pytest.raises(Impatient, match=r"no event mine\.first\* within 1 s"):
        await broker.wait_event("mine.first", timeout=1)  # that was before
    await broker.publish("mine.first", {"n": 2})
    assert (await broker.wait_event("mine.first")).payload == {"n": 2}
    assert [event.topic for event in broker.events] == ["mine.first", "mine.other", "mine.first"]


async def test_a_job_is_waited_for_in_a_state_that_there_is_and_no_longer_than_asked(broker):
    job = (await broker.rpc("job-ingest.submit", {"J": envelope(jobspec(duration=100))}))["id"]
    with pytest.raises(ValueError, match="no state 'DONE'; the states of a job are NEW, DEPEND"):
        await broker.wait_job(job, "DONE")
    await broker.wait_job(job, "RUN")
    began = broker.instance.reactor.now
    with pytest.raises(Impatient, match="is RUN, waited for INACTIVE until"):
        await broker.wait_job(job, timeout=5)
    assert broker.instance.reactor.now - began == 5_000_000_000
    with pytest.raises(RequestError) as caught:
        await broker.wait_job(99)
    assert caught.value.errno == ENOENT
    await broker.wait_job(job, timeout=200)


@pytest.mark.brokersim(size=2)
async def test_deltas_are_of_a_module_on_every_rank_or_on_one(broker):
    with broker.deltas("kvs") as both, broker.deltas("kvs.1") as one:
        for rank in (0, 1, 1):
            await broker.rpc("kvs.getroot", ROOT, nodeid=rank)
        await broker.settle()
    assert (both["kvs.0.request_rx"], both["kvs.1.request_rx"], one["request_rx"]) == (1, 2, 2)
