"""The examples written for both Flux and here, run here: in virtual time, and in real time as processes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio

import brokersim
from brokersim.fluxapi.check import check
from brokersim.instance import Instance
from brokersim.protocol.message import Message
from brokersim.services.composition import DEFAULT_MODULES
from tests.fluxcompat.test_socket_jobs import jobspec, signed

FOLDER = Path(__file__).parents[2] / "examples" / "flux_modules"


def run(body: Any, *modules: str) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=modules) as instance:
            await body(instance)

    brokersim.run(main)


def test_counters_are_emitted_while_the_bit_is_set_and_only_when_they_moved() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.setblocking(False)

        def received() -> list[str]:
            packets = []
            while True:
                try:
                    packets.append(target.recv(2000).decode())
                except BlockingIOError:
                    return packets

        async def body(instance: Instance) -> None:
            client = instance.client()
            await instance.load(f"{FOLDER}/counters.py", f"127.0.0.1:{target.getsockname()[1]}")
            await client.call("counters.hello")
            assert received() == []
            await client.call("counters.debug", {"op": "setbit", "flags": 0x1000})
            await client.call("counters.hello")
            await client.call("counters.ping", {"seq": 1})
            await instance.sleep(0.5)
            first, second = received()
            assert first.splitlines()[0] == "flux.counters.0.request_rx:1|g"
            assert second == "\n".join(
                f"flux.counters.0.{what}:{n}|g"
                for what, n in (("request_rx", 2), ("response_tx", 2), ("event_rx", 0))
            )
            await client.call("counters.debug", {"op": "clr", "flags": 0})
            await client.call("counters.hello")
            assert received() == []

        run(body)


def test_the_journal_writes_by_timer_and_event_and_reads_back() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(f"{FOLDER}/journal.py", "1.0")
        assert await client.call("journal.read") == {"lines": []}
        await instance.sleep(2.5)
        client.publish("journal.note", {"text": "hello"})
        await instance.sleep(0.1)
        assert await client.call("journal.read") == {"lines": ["tick", "tick", "hello"]}

    run(body, "content-cache", "content-sqlite", "kvs")


def test_the_fifo_scheduler_runs_jobs_in_order() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(f"{FOLDER}/fifo.py", "1")
        userid = instance.owner
        ids = []
        for _ in range(3):
            payload = {"J": signed(jobspec("sleep", duration=10), userid), "urgency": 16, "flags": 0}
            ids.append((await client.call("job-ingest.submit", payload))["id"])
        start = client.now()
        for at, job in enumerate(ids, 1):
            result = await client.call("job-manager.wait", {"id": job, "claim": False})
            assert (result["success"], round((client.now() - start) / 10)) == (True, at)
        big = jobspec("true")
        big["resources"][0]["with"][0]["count"] = 2
        payload = {"J": signed(big, userid), "urgency": 16, "flags": 0}
        job = (await client.call("job-ingest.submit", payload))["id"]
        result = await client.call("job-manager.wait", {"id": job, "claim": False})
        assert (result["success"], "2 cores are not there" in result["errstr"]) == (False, True)

    run(body, *(name for name in DEFAULT_MODULES if name != "sched"))


def test_the_shortest_job_that_fits_is_next() -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{FOLDER}/shortest.py")
        client = instance.client()
        ids = {}
        for name, cores, seconds in (
            ("first", 4, 5.0),
            ("long", 3, 9.0),
            ("short", 3, 1.0),
            ("small", 1, 20.0),
        ):
            spec = jobspec("x", duration=seconds)
            spec["resources"][0]["with"][0]["count"] = cores
            payload = {"J": signed(spec), "urgency": 16, "flags": 0}
            ids[name] = (await client.call("job-ingest.submit", payload))["id"]
        started = {}
        for name, job in ids.items():
            await client.call("job-manager.wait", {"id": job, "claim": False})
            asked = {"id": job, "attrs": ["t_run"]}
            started[name] = (await client.call("job-list.list-id", asked))["job"]["t_run"]
        assert sorted(started, key=lambda name: (started[name], name)) == ["first", "short", "small", "long"]

    run(body, *(name for name in DEFAULT_MODULES if name != "sched"))


def test_the_module_of_the_documentation_runs_in_both_ways(tmp_path: Path) -> None:
    text = (FOLDER.parents[1] / "docs" / "modules.md").read_text()
    path = tmp_path / "hello.py"
    path.write_text(text.partition("```python\n")[2].partition("```")[0])
    assert check(path).is_fine

    async def body(instance: Instance) -> None:
        for name, as_process in (("near", False), ("far", True)):
            await instance.load(str(path), name=name, as_process=as_process)
        client = instance.client()
        client.publish("heartbeat.pulse")
        for name in ("near", "far"):
            assert await client.call(f"{name}.info") == {"name": name, "beats": 1}

    run_real(body)


# -- the same files as processes of their own


def run_real(body: Any, *modules: str) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with brokersim.open_instance(modules=modules, clock="real", jobs="simulated") as instance:
                await body(instance)

    brokersim.run(main, clock="real")


def test_counters_as_a_process_emit_the_same_packets() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.setblocking(False)

        async def received() -> list[str]:
            await trio.lowlevel.wait_readable(target)
            return target.recv(2000).decode().splitlines()

        async def body(instance: Instance) -> None:
            client = instance.client()
            await instance.load(
                f"{FOLDER}/counters.py", f"127.0.0.1:{target.getsockname()[1]}", as_process=True
            )
            await client.call("counters.hello")
            await client.call("counters.debug", {"op": "setbit", "flags": 0x1000})
            assert await received() == [
                "flux.counters.0.request_rx:1|g", "flux.counters.0.response_tx:1|g", "flux.counters.0.event_rx:0|g",
            ]  # fmt: skip
            client.publish("heartbeat.pulse", {})
            assert (await received())[2] == "flux.counters.0.event_rx:1|g"
            await client.call("counters.debug", {"op": "clr", "flags": 0})
            await client.call("counters.hello")
            await client.call("counters.hello")
            assert_nothing(target)

        run_real(body)


def assert_nothing(target: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        target.recv(1)


def test_the_journal_as_a_process_writes_to_the_kvs_and_blocks_for_it() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(f"{FOLDER}/journal.py", "0.02", as_process=True)
        lines: list[str] = []
        while len(lines) < 3:
            lines = (await client.call("journal.read"))["lines"]
        assert set(lines) == {"tick"}
        client.publish("journal.note", {"text": "hello"})
        while "hello" not in lines:
            lines = (await client.call("journal.read"))["lines"]
        key = f"journal.line{lines.index('hello') + 1}"
        assert await client.call("kvs.lookup", {"key": key, "namespace": "primary", "flags": 0})

    run_real(body, "content-cache", "content-sqlite", "kvs")


def test_the_fifo_scheduler_as_a_process_runs_jobs_in_order() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(f"{FOLDER}/fifo.py", "1", as_process=True)
        ended: list[int] = []
        payloads = [
            {"J": signed(jobspec("sleep", duration=0.02), instance.owner), "urgency": 16, "flags": 0}
            for _ in range(3)
        ]
        ids = [(await client.call("job-ingest.submit", payload))["id"] for payload in payloads]

        def note(answer: Message, job: int) -> None:
            assert answer.payload["success"]
            ended.append(job)

        for job in reversed(ids):
            client.request("job-manager.wait", {"id": job, "claim": False}, note, job)
        while len(ended) < 3:
            await instance.sleep(0.005)
        assert ended == ids

    run_real(body, *(name for name in DEFAULT_MODULES if name != "sched"))
