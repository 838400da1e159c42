"""Schedulers written for Flux's `flux.scheduler`, run here in the shipped one's place. Virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import RequestError
from brokersim.fluxapi.resource import InfeasibleRequest, InsufficientResources, ResourcePool
from brokersim.fluxapi.source import Source
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
    assert shown["expiration"] == 0  # as in Flux: who wants an end says so (set_expiration)


def test_a_job_that_can_never_run_is_denied_with_the_reason(file: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        job = await submit(client, jobspec(nodes=3))
        answer = await outcome(client, job)
        with pytest.raises(RequestError) as caught:
            await client.call("feasibility.check", {"jobspec": jobspec(cores=3)})
        assert await client.call("feasibility.check", {"jobspec": jobspec(cores=2)}) is None
        return answer["errstr"], caught.value.errno

    errstr, errnum = scheduled(file, test)
    assert "unsatisfiable request: need 1 slot(s) of 1 core(s) on each of 3 node(s)" in errstr
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
        (("nosuch",), "unknown argument 'nosuch': built-in options are queue-depth, log-level, pool-class"),
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
    lite = [{"rank": f"0-{nodes - 1}" if nodes > 1 else "0", "children": {"core": f"0-{cores - 1}"}}]
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


# -- as Flux's own schedulers are written: the C library's clock, time.time(), a policy in a file of its own

POLICY = """
import time
from _flux._core import lib
from flux.scheduler import Scheduler
from flux.resource import InfeasibleRequest, InsufficientResources

class Policy(Scheduler):
    queue_depth = 8

    def schedule(self):
        for job in sorted(self._queue):
            try:
                alloc = self.resources.alloc(job.jobid, job.resource_request)
            except InsufficientResources:
                return
            now = lib.flux_reactor_now(lib.flux_get_reactor(self.handle.handle))
            alloc.set_starttime(now)
            alloc.set_expiration(now + job.resource_request.duration)
            job.request.success(alloc, {"sched": {"seen": [now, time.time(), time.monotonic() < 1000]}})
            self._queue.remove(job)
            yield

    def forecast(self):
        ends = [end for _, end in self.resources.job_end_times()]
        for job in sorted(self._queue):
            job.request.annotate({"sched": {"t_estimate": min(ends), "now": time.time()}})
            yield
"""
MAIN = """
import importlib.util, os

spec = importlib.util.spec_from_file_location("policy", os.path.join(os.path.dirname(__file__), "policy.py"))
policy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(policy)

def mod_main(h, *args):
    policy.Policy(h, *args).run()
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "policy.py").write_text(POLICY)
    path = tmp_path / "main.py"
    path.write_text(MAIN)
    return str(path)


def test_time_is_the_instances_in_every_file_of_a_scheduler(policy: str) -> None:
    async def test(instance: Any, client: Any) -> Any:
        running = await submit(client, jobspec(cores=2, duration=10))
        waiting = await submit(client, jobspec(nodes=2, cores=2, duration=10))
        await instance.sleep(1)
        seen = [(await attributes(client, job))["annotations"]["sched"] for job in (running, waiting)]
        first = await attributes(client, running)
        await outcome(client, waiting)
        return seen, first, (await attributes(client, waiting))["t_run"]

    (given_, forecast), first, started = scheduled(policy, test)
    now, told, is_short = given_["seen"]
    assert now == told == pytest.approx(first["t_run"], abs=0.1) and is_short
    assert first["expiration"] == pytest.approx(now + 10)
    assert forecast["t_estimate"] == pytest.approx(now + 10) and forecast["now"] < now + 1
    assert started == pytest.approx(now + 10, abs=0.2)


def test_a_c_function_that_is_not_here_is_told_before_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text(POLICY.replace("flux_reactor_now(", "flux_reactor_magic(") + "\nmod_main = None\n")
    with pytest.raises(RequestError, match="flux_reactor_magic: brokersim has no such C function"):
        scheduled(str(path), lambda *_: None)
    assert "C function flux_reactor_magic" in Source(path.read_text(), str(path)).not_here()
    path.write_text(POLICY)
    assert Source(path.read_text(), str(path)).not_here() == []


def test_a_pools_kind_is_told_by_r_or_by_an_argument(file: str, tmp_path: Path) -> None:
    children = [{"ranks": "0-1", "topo": {"socket": [{"cores": "0"}, {"cores": "1"}]}}]
    stored = tmp_path / "R.json"

    async def main(instance: Any, client: Any) -> Any:
        await instance.remove("sched")
        found = []
        for writer, args in (("TreePool", ()), ("nobody", ()), ("nobody", ("pool-class=TreePool:TreePool",))):
            stored.write_text(json.dumps({**R(2, 2), "scheduling": {"writer": writer, "children": children}}))
            await client.call("resource.reload", {"path": str(stored), "xml": False, "force": False})
            await instance.load(file, *args)
            job = await submit(client, jobspec(duration=1))
            await outcome(client, job)
            ready = [line for line in instance.broker(0).log.lines() if "ready: " in line][-1]
            found.append(ready.partition("pool-class=")[2])
            await instance.remove("fifo")
        with pytest.raises(RequestError, match="pool-class='nosuch': could not load pool class"):
            await instance.load(file, "pool-class=nosuch")
        return found

    of_r, plain, of_argument = in_instance(main, resources="2x2")
    assert of_r == of_argument == "TreePool Rv1 rank[0-1]/core[0-1]" and plain.startswith("Rv1Pool")


def test_a_running_job_whose_nodes_are_gone_ends_when_the_scheduler_is_back(
    file: str, tmp_path: Path
) -> None:
    stored = tmp_path / "R.json"
    stored.write_text(json.dumps(R(1, 2)))

    async def test(instance: Any, client: Any) -> Any:
        jobs = [await submit(client, jobspec(cores=2, duration=50)) for _ in range(2)]
        await instance.sleep(1)
        await instance.remove("fifo")
        await client.call("resource.reload", {"path": str(stored), "xml": False, "force": False})
        await instance.load(file)
        return [await outcome(client, job) for job in jobs]

    first, second = scheduled(file, test)
    assert first["success"] and not second["success"]
    assert "failed to reallocate R for running job" in second["errstr"]


def test_what_a_scheduler_annotates_is_joined_and_a_null_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "fifo.py"
    busy = 'job.request.annotate({"sched": {"reason_pending": "busy"}})'
    path.write_text(
        FIFO.replace("YIELD", "yield").replace(
            busy,
            'job.request.annotate({"sched": {"a": 1, "b": 2}})\n'
            '            job.request.annotate({"sched": {"b": None}, "mine": {"c": 3}})',
        )
    )

    async def test(instance: Any, client: Any) -> Any:
        running = await submit(client, jobspec(nodes=2, cores=2, duration=10))
        waiting = await submit(client, jobspec(cores=2, duration=1))
        await instance.sleep(1)
        before = (await attributes(client, waiting))["annotations"]
        await outcome(client, running)
        await outcome(client, waiting)
        return before, (await attributes(client, waiting))["annotations"]

    before, after = scheduled(str(path), test)
    assert before == {"sched": {"a": 1}, "mine": {"c": 3}}
    assert after == {"sched": {"resource_summary": "rank0/core[0-1]"}, "mine": {"c": 3}}
