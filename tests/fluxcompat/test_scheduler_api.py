"""Schedulers written for Flux's `flux.scheduler`, run here in the shipped one's place. Virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import RequestError
from brokersim.fluxapi.resource import InfeasibleRequest, InsufficientResources, ResourcePool
from tests.modules.job_harness import attributes, in_instance, jobspec, log_of, outcome, submit

FIFO = """
import heapq
from flux.resource import InfeasibleRequest, InsufficientResources
from flux.scheduler import Scheduler

class Fifo(Scheduler):
    def schedule(self):
        while self._queue:
            job = self._queue[0]
            try:
                alloc = self.resources.alloc(job.jobid, job.resource_request)
            except InsufficientResources:
                break
            except InfeasibleRequest as error:
                job.request.deny(str(error))
            else:
                job.request.success(alloc, {"sched": {"resource_summary": alloc.dumps()}})
            heapq.heappop(self._queue)
            YIELD

    def forecast(self):
        for job in self._queue:
            job.request.annotate({"sched": {"reason_pending": "busy"}})
            yield

def mod_main(h, *args):
    Fifo(h, *args).run()
"""


@pytest.fixture(params=["yield", "pass"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The scheduler's file: once with a generator, once without."""
    path = tmp_path / "fifo.py"
    path.write_text(FIFO.replace("YIELD", request.param))
    return str(path)


def scheduled(file: str, test: Callable[[Any, Any], Any], *args: str, **settings: Any) -> Any:
    """Run a test where the file schedules instead of the shipped module."""

    async def main(instance: Any, client: Any) -> Any:
        await instance.remove("sched")
        await instance.load(file, *args)
        return await test(instance, client)

    return in_instance(main, **{"resources": "2x2", **settings})


def test_jobs_run_in_the_order_of_priority_and_id(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        first = [await submit(client, jobspec(cores=2, duration=1)) for _ in range(2)]
        low, high = await submit(client, jobspec(cores=2, duration=1)), None
        high = await submit(client, jobspec(cores=2, duration=1), urgency=20)
        rest = await submit(client, jobspec(cores=2, duration=1))
        for job in (*first, low, high, rest):
            assert (await outcome(client, job))["success"]
        starts = {name: (await attributes(client, job))["t_run"] for name, job in
                  (("low", low), ("high", high), ("rest", rest), ("first", first[1]))}  # fmt: skip
        # Nothing is left of requests that were answered, on either side.
        manager = instance.module(0, "job-manager").handle
        left = [one.topic for one in manager.pending.values() if one.topic == "sched.alloc"]
        return sorted(starts, key=lambda name: starts[name]), await attributes(client, first[0]), left

    order, shown, left = scheduled(file, test)
    assert left == []
    assert order == ["first", "high", "low", "rest"]
    assert (shown["ranks"], shown["nodelist"]) == ("0", "sim0")
    assert shown["annotations"] == {"sched": {"resource_summary": "rank0/core[0-1]"}}
    assert shown["expiration"] == pytest.approx(shown["t_run"] + 1, abs=0.1)


def test_a_job_that_can_never_run_is_denied_with_the_reason(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        job = await submit(client, jobspec(nodes=3))
        answer = await outcome(client, job)
        with pytest.raises(RequestError) as caught:
            await client.call("feasibility.check", {"jobspec": jobspec(cores=3)})
        assert await client.call("feasibility.check", {"jobspec": jobspec(cores=2)}) is None
        return answer["errstr"], caught.value.errno

    errstr, errnum = scheduled(file, test)
    assert "unsatisfiable request: 1 slots of 1 cores on each of 3 nodes" in errstr
    assert errnum == 75


def test_a_waiting_job_is_annotated_cancelled_and_forgotten(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        running = await submit(client, jobspec(nodes=2, cores=2, duration=100))
        waiting = await submit(client, jobspec(cores=2))
        await instance.sleep(1)
        shown = await attributes(client, waiting)
        await client.call("job-manager.raise", {"id": waiting, "type": "cancel", "severity": 0})
        await outcome(client, waiting)
        stats = await client.call("fifo.stats-get")
        await client.call("job-manager.raise", {"id": running, "type": "cancel", "severity": 0})
        return shown, stats

    shown, stats = scheduled(file, test)
    assert shown["annotations"] == {"sched": {"reason_pending": "busy"}} and shown["state"] == 8
    assert stats["pending_jobs"] == 0 and stats["sched_passes"] > 0 and stats["tx"]["request"] > 0


def test_drained_nodes_are_down_and_jobs_wait_for_them(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        await client.call("resource.drain", {"targets": "0"}, nodeid=0)
        jobs = [await submit(client, jobspec(cores=2, duration=1)) for _ in range(2)]
        await instance.sleep(0.5)
        status = await client.call("resource.sched-status")
        for job in jobs:
            await outcome(client, job)
        return status, [(await attributes(client, job))["ranks"] for job in jobs]

    status, ranks = scheduled(file, test)
    assert ranks == ["1", "1"]
    rows = {
        name: [(one["rank"], one["children"]["core"]) for one in r["execution"]["R_lite"]]
        for name, r in status.items()
    }
    assert rows == {"all": [("0-1", "0-1")], "down": [("0", "0-1")], "allocated": [("1", "0-1")]}


def test_a_scheduler_reloaded_knows_what_runs(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        running = await submit(client, jobspec(cores=2, duration=50))
        await instance.sleep(1)
        await instance.remove("fifo")
        await instance.load(file)
        after = await submit(client, jobspec(nodes=2, cores=2))
        await outcome(client, after)
        times = [(await attributes(client, job))["t_run"] for job in (running, after)]
        names = [event["name"] for event in await log_of(client, after)]
        return times, names

    (first, second), names = scheduled(file, test)
    assert second >= first + 50
    assert names[-1] == "clean"


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("queue-depth=0",), "queue-depth='0' is invalid"),
        (("nosuch",), "unknown argument 'nosuch': built-in options are queue-depth, log-level"),
        (("log-level=loud",), "loud"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path: Path, args: tuple[str, ...], part: str) -> None:
    path = tmp_path / "fifo.py"
    path.write_text(dedent(FIFO.replace("YIELD", "pass")))
    with pytest.raises(RequestError, match=part) as caught:
        scheduled(str(path), lambda *_: None, *args)
    assert caught.value.errno == 22


# -- the pool


def R(nodes: int, cores: int) -> dict[str, Any]:
    lite = [{"rank": f"0-{nodes - 1}", "children": {"core": f"0-{cores - 1}"}}]
    return {
        "version": 1,
        "execution": {"R_lite": lite, "starttime": 0, "expiration": 0, "nodelist": [f"n[0-{nodes - 1}]"]},
    }


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2)), max_size=12), st.data())
def test_what_is_handed_out_is_never_handed_out_twice_and_comes_back_whole(
    wishes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    pool = ResourcePool(R(3, 4))
    held: dict[int, set[tuple[int, int]]] = {}
    for job, (slots, cores, nodes) in enumerate(wishes):
        request = pool.parse_resource_request(jobspec(slots=slots, cores=cores, nodes=nodes))
        try:
            taken = pool.alloc(job, request).to_dict()
        except InsufficientResources:
            assert sum(map(len, held.values()))  # something is in use
        except InfeasibleRequest:
            assert slots * cores > 4 if nodes else slots > 3 * (4 // cores)
        else:
            mine = {
                (rank, core)
                for one in taken["execution"]["R_lite"]
                for rank in _ids(one["rank"])
                for core in _ids(one["children"]["core"])
            }
            assert len(mine) == slots * cores * max(1, nodes)
            assert not any(mine & other for other in held.values())
            held[job] = mine
        if held and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(held)))
            pool.free(gone, None, final=True)
            del held[gone]
    for job in held:
        pool.free(job, None, final=True)
    assert pool.copy_allocated().to_dict()["execution"]["R_lite"] == []


def _ids(text: str) -> list[int]:
    spans = (part.partition("-") for part in text.split(","))
    return [number for first, _, last in spans for number in range(int(first), int(last or first) + 1)]


def test_a_pool_is_copied_marked_and_written_out() -> None:
    pool = ResourcePool(R(2, 2))
    request = pool.parse_resource_request(jobspec(cores=2))
    pool.mark_down("0")
    other = pool.copy()
    assert pool.alloc(1, request).to_dict()["execution"]["nodelist"] == ["n1"]
    assert other.copy_allocated().to_dict()["execution"]["R_lite"] == []
    with pytest.raises(InsufficientResources):
        pool.alloc(2, request)
    pool.mark_up("all")
    assert pool.alloc(2, request).dumps() == "rank0/core[0-1]"
    with pytest.raises(InfeasibleRequest):
        pool.alloc(3, pool.parse_resource_request(jobspec(cores=3)))
    with pytest.raises(TypeError):
        ResourcePool(5)
    with pytest.raises(ValueError, match="version 2"):
        ResourcePool({"version": 2})
