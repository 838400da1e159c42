"""`brokersim.testing` as a door: what importing it costs, its types, its strategies, and tests without fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brokersim.testing
from brokersim.protocol.errnums import RequestError
from brokersim.testing import Impatient, LawViolation, modules, run, strategies
from brokersim.testing.options import TestOptions
from tests.modules.job_harness import envelope

ROOT = {"namespace": "primary", "flags": 0}


@pytest.mark.parametrize("name", ["brokersim.testing", "brokersim.statsd", "brokersim.pytest_plugin"])
def test_a_door_is_imported_without_a_broker_and_without_trio(name):
    script = (
        f"import sys, {name}\n"
        "high = ('brokersim.routing', 'brokersim.host', 'brokersim.net', 'trio')\n"
        "found = [name for name in sys.modules if name.startswith(high)]\n"
        "print(found)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_name_of_the_door_is_there_and_others_are_not():
    assert [name for name in brokersim.testing.__all__ if not hasattr(brokersim.testing, name)] == []
    with pytest.raises(AttributeError, match=r"module 'brokersim\.testing' has no attribute 'nothing'"):
        brokersim.testing.nothing  # noqa: B018


SAMPLE = '''
"""What a user writes, with every fixture annotated."""

import pytest

from brokersim.reactor.clock import VirtualClock
from brokersim.testing import Broker, Instances, StatsSink, StatsUdp, SyncBroker, at_most, modules, partial, run


@pytest.mark.brokersim(size=2, mask={"kvs": 0x1000})
async def test_all(broker: Broker, stats_sink: StatsSink, virtual_clock: VirtualClock) -> None:
    await broker.load(modules.SLOW, "seconds=1")
    with broker.deltas("kvs", "slow") as d, broker.expect_metrics({"flux.kvs.*": None}) as seen:
        answer: dict[str, int] = await broker.rpc("slow.ask", {"a": 1})
    assert d == partial({"kvs.0.request_rx": at_most(1)}) and d.topics >= {"slow.0.request_rx:slow.ask": 1}
    assert answer["a"] == 1 and seen.values and virtual_clock.current_time() >= 1.0
    fault = broker.fault("drop", topic="kvs.getroot", count=1)
    print(fault.hits[0].time, fault.report(), broker.trace("kvs")[0].topic)
    value: float = await stats_sink.wait("flux.kvs.0.event_rx", ge=2)
    count: int = await broker.wait_counter("kvs.0.request_rx", ge=1)
    print(value + count, broker.counters("kvs")["request_rx"])


async def test_instances(instance: Instances, stats_udp: StatsUdp) -> None:
    async with instance(size=4) as broker:
        await broker.rpc("kvs.getroot", nodeid=3)
    print(stats_udp.address, stats_udp.lines)


def test_sync(instance: Instances) -> None:
    with instance() as broker:
        plain: SyncBroker = broker
        plain.advance(1)


def test_alone() -> None:
    async def body(broker: Broker) -> int:
        return broker.instance.size

    assert run(body, size=2) == 2
'''


@pytest.mark.slow
def test_a_users_test_file_is_typed_throughout(tmp_path):
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "test_sample.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**_environment(), "MYPYPATH": ""},
    )  # fmt: skip
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "MYPY_CACHE_DIR": str(Path(__file__).parents[2] / ".mypy_cache" / "sample")}


# -- without fixtures


def test_run_gives_each_call_an_instance_of_its_own_and_judges_it():
    async def seen(broker, number):
        await broker.load(modules.LEAKING)
        for _ in range(number):
            await broker.rpc("leaking.ask")
        return broker.instance.seed

    assert run(seen, 2, seed=7, laws={"pending": "it leaks"}) == 7
    with pytest.raises(LawViolation, match="law pending"):
        run(seen, 1)


def test_run_without_room_for_a_broker_only_gives_the_clock():
    async def main(number):
        async with brokersim.testing.opened(TestOptions(size=number)) as broker:
            return broker.instance.size

    assert run(main, 3) == 3


# -- strategies: what they draw, real modules take


@settings(max_examples=20, deadline=None)
@given(ops=st.lists(strategies.kvs_ops(), min_size=1, max_size=4), size=st.integers(1, 3), data=st.data())
def test_drawn_commits_are_taken_or_refused_and_answered_once(ops, size, data):
    rank = data.draw(strategies.ranks(size))

    async def commit(broker):
        try:
            await broker.rpc("kvs.commit", {**ROOT, "ops": ops}, nodeid=rank)
        except RequestError:
            pass  # a value where a directory is wanted
        answer = await broker.rpc("kvs.getroot", ROOT)
        assert answer["rootseq"] >= 0

    run(commit, size=size)


@settings(max_examples=10, deadline=None)
@given(spec=strategies.jobspecs(max_slots=5), blob=strategies.blobs(), payload=strategies.json_objects())
def test_drawn_jobs_blobs_and_payloads_are_taken(spec, blob, payload):
    async def use(broker):
        await broker.load(modules.SLOW, "seconds=0")
        assert await broker.rpc("slow.ask", payload) == payload
        await broker.rpc("content.store", blob)
        job = (await broker.rpc("job-ingest.submit", {"J": envelope(spec)}))["id"]
        await broker.wait_job(job)

    run(use, resources="1x4")


@settings(max_examples=15, deadline=None)
@given(fault=strategies.faults(), name=strategies.module_names(), mask=strategies.masks())
def test_drawn_faults_hit_or_not_and_are_excused(fault, name, mask):
    kind, settings_ = fault

    async def suffer(broker):
        await broker.load(modules.SLOW, "seconds=0", name=f"slow-{name}")
        broker.debug(f"slow-{name}", mask)
        hurt = broker.fault(kind, topic=f"slow-{name}.ask", **settings_)
        for _ in range(3):
            try:
                await broker.rpc(f"slow-{name}.ask", {}, timeout=2)
            except (RequestError, Impatient):
                assert hurt.hits
        hurt.hits.append(None)  # it may have hit nothing, with luck

    run(suffer)


@given(topic=strategies.topics("hello"))
def test_drawn_topics_belong_to_the_service_asked_for(topic):
    assert topic.startswith("hello.") and "\0" not in topic


def test_a_fault_that_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="no fault to draw: 'kill'; there are drop, duplicate"):
        strategies.faults("kill")
