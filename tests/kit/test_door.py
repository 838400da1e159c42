"""`brokersim.testing` as a door: what importing it costs, its types, its strategies, and tests without fixtures."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brokersim.testing
from brokersim.protocol.errnums import RequestError
from brokersim.testing import Impatient, LawViolation, modules, run, strategies
from brokersim.testing.options import TestOptions
from tests.effort import examples
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


def test_what_a_user_writes_is_typed_throughout_by_lint():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "tests/kit/test_typed.py" in project["tool"]["mypy"]["files"]
    assert project["tool"]["mypy"]["strict"] is True


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


@settings(max_examples=examples(20), deadline=None)
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


@settings(max_examples=examples(10), deadline=None)
@given(spec=strategies.jobspecs(max_slots=5), blob=strategies.blobs(), payload=strategies.json_objects())
def test_drawn_jobs_blobs_and_payloads_are_taken(spec, blob, payload):
    async def use(broker):
        await broker.load(modules.SLOW, "seconds=0")
        assert await broker.rpc("slow.ask", payload) == payload
        await broker.rpc("content.store", blob)
        job = (await broker.rpc("job-ingest.submit", {"J": envelope(spec)}))["id"]
        await broker.wait_job(job)

    run(use, resources="1x4")


@settings(max_examples=examples(15), deadline=None)
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
