"""The module as a whole: what is reproducible, what sinks get, what is left behind, what is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError
from brokersim.statsd_server.outputs.rundb import read_all
from modules.probe.budget import Budget
from modules.probe.procfs import ProcFS
from modules.probe.sinks import lines as line_file
from tests.modules.probe.harness import documents, every, lined, probing, samples
from tests.modules.probe.test_command import values

RANDOM = {"type": "random", "params": {"low": 1, "high": 3}}


def recorded(path, seed, more=()):
    async def main():
        async with probing(path, modules=("heartbeat",), seed=seed) as (instance, client):
            for name in more:
                await client.call("probe.add", {"name": name, "record": lined("dummy", RANDOM)})
            await client.call("probe.add", {"name": "m", "record": lined("dummy", RANDOM, jitter=1)})
            await client.call(
                "probe.add", {"name": "h", "record": lined("module", every(2), {"service": "heartbeat"})}
            )
            await instance.sleep(60)

    run(main)
    return path.read_bytes()


def test_the_same_seed_gives_the_same_bytes_and_another_measurement_moves_none(tmp_path):
    first = recorded(tmp_path / "a", 7)
    assert recorded(tmp_path / "b", 7) == first
    assert recorded(tmp_path / "c", 8) != first

    def times(path):
        mids = {
            one["series"]["mid"] for one in documents(path) if one.get("series", {}).get("measurement") == "m"
        }
        return [one["ts"] for one in samples(path) if one["mid"] in mids]

    recorded(tmp_path / "d", 7, more=("other", "one-more"))
    assert times(tmp_path / "d") == times(tmp_path / "a")


def test_statsd_gets_gauges_deltas_as_counters_and_nothing_with_a_time_of_its_own():
    async def main():
        async with open_instance(modules=["heartbeat", "probe"], stats="mem:") as instance:
            client = instance.client()
            record = {"probe": "module", "config": {"service": "heartbeat"}, "schedule": every(2)}
            delta = {**record, "reporting": {"counters": "delta"}}
            await client.call("probe.add", {"name": "raw", "record": record})
            await client.call("probe.add", {"name": "delta", "record": delta})
            timed = {"probe": "replay", "config": {"readings": [{"v": 1, "ts": 5}]}, "schedule": every(1)}
            await client.call("probe.add", {"name": "timed", "record": timed})
            await instance.sleep(31)
            status = await client.call("probe.status", {"name": "timed"})
            return [packet for _, packet in instance.sink.packets], status

    packets, status = run(main)
    text = b"\n".join(packets).decode()
    assert "flux.probe.0.raw.module.heartbeat.tx_request:" in text
    assert any(line.startswith("flux.probe.0.delta.module.heartbeat.tx_request:") and line.endswith("|c")
               for line in text.split("\n"))  # fmt: skip
    assert "flux.probe.0.timed." not in text.replace("timed.runs", "").replace("timed.duration", "")
    assert "flux.probe.0.raw.runs:" in text and "flux.probe.0.raw.duration:" in text
    [sink] = status["sinks"]
    assert sink["suppressed"] == status["measurements"][0]["counts"]["untimed"] > 20


def test_a_run_database_has_names_of_statsd_and_times_as_they_were_read(tmp_path):
    path = tmp_path / "run.db"

    async def main():
        async with open_instance(modules=["probe"]) as instance:
            client = instance.client()
            reading = {"probe": "replay", "config": {"readings": [{"v": 4, "ts": 1000.5}], "once": True}}
            reading |= {"schedule": every(1), "reporting": {"sinks": ["db"]}}
            config = {"sinks": {"db": {"type": "rundb", "path": str(path)}}, "probes": {"m": reading}}
            await client.call("probe.reload", {"config": config})
            await instance.sleep(3)

    run(main)
    assert read_all(path) == {"flux.probe.0.m.v": [(1000.5, 4)]}


def test_a_full_disk_is_waited_for_and_nothing_stands_there_twice(tmp_path, monkeypatch):
    path = tmp_path / "lines.jsonl"
    full = {"is": False}
    write = os.write

    def cut_short(fd, data):
        if full["is"]:
            write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    async def main():
        async with probing(path) as (instance, client):
            monkeypatch.setattr(line_file.os, "write", cut_short)
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1))})
            await instance.sleep(5.5)
            full["is"] = True
            await instance.sleep(60)
            [sink] = (await client.call("probe.status"))["sinks"]
            full["is"] = False
            await instance.sleep(61)
            return sink

    sink = run(main)
    monkeypatch.undo()
    assert "No space left on device" in sink["trouble"] and sink["queued"] == 60
    seqs = [one["seq"] for one in samples(path)]
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) > 110


def test_nothing_is_left_open_when_a_measurement_goes_or_fails(tmp_path):
    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            await client.call("probe.status")
            before = len(os.listdir("/proc/self/fd"))
            for probe in ("cpu", "mem", "net", "disk"):
                record = {"probe": probe, "schedule": every(0.01), "reporting": {"sinks": []}}
                await client.call("probe.add", {"name": probe, "record": record})
            await instance.sleep(0.2)
            during = len(os.listdir("/proc/self/fd"))
            for probe in ("cpu", "mem", "net", "disk"):
                await client.call("probe.remove", {"name": probe})
            return (
                before,
                during,
                len(os.listdir("/proc/self/fd")),
                len(instance.module(0, "probe").handle.timers or ()),
            )

    before, during, after, timers = run(main, clock="real")
    assert during > before == after
    assert timers == 0


def test_the_end_of_a_watched_process_is_told_once_as_its_last_sample(tmp_path):
    path = tmp_path / "lines.jsonl"
    process = subprocess.Popen(["sleep", "60"])

    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            await client.call("probe.reload", {"config": {"sinks": {"lines": {"path": str(path)}}}})
            record = lined("process", every(0.05), {"pid": process.pid})
            await client.call("probe.add", {"name": "p", "record": record})
            await instance.sleep(0.3)
            process.kill()
            process.wait()
            until = time.monotonic() + 20
            while not any(one["value"] == "gone" for one in samples(path)) and time.monotonic() < until:
                await instance.sleep(0.05)
            await instance.sleep(0.2)

    run(main, clock="real")
    assert [one["value"] for one in samples(path)].count("gone") == 1
    got = values(documents(path))
    assert got[f"p.process.{process.pid}.state"] == "gone"
    assert got[f"p.process.{process.pid}.resident"] > 0


def test_a_read_that_holds_the_loop_again_and_again_fails_with_what_to_do(monkeypatch, tmp_path):
    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            # The module's own import of it: each load of a module file is fresh code.
            probes = sys.modules[type(instance.module(0, "probe").handle.body).__module__].PROBES

            def slow(self):
                time.sleep(0.006)
                return {"value": 1}

            monkeypatch.setattr(probes["dummy"], "read", slow)
            record = {"probe": "dummy", "schedule": every(0.01), "reporting": {"sinks": []}}
            await client.call("probe.add", {"name": "m", "record": record})
            until = time.monotonic() + 20
            while time.monotonic() < until:
                await instance.sleep(0.05)
                [one] = (await client.call("probe.status"))["measurements"]
                if one["state"] == "FAILED":
                    return one

    one = run(main, clock="real")
    assert one["counts"]["slow"] == 3
    assert "ms of the loop; set isolation: process" in one["reason"]


def test_three_slow_reads_in_a_row_are_too_many_and_a_quick_one_forgives():
    budget = Budget()
    assert [budget.charge(took) for took in (0.006, 0.006, 0.001, 0.006, 0.006)] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert not budget.is_spent
    assert budget.charge(0.006) and budget.is_spent
    assert budget.spent == pytest.approx(0.031)


def test_files_are_read_whole_however_long_and_from_any_root(tmp_path):
    (tmp_path / "proc").mkdir()
    data = b"x" * 100_000
    (tmp_path / "proc" / "long").write_bytes(data)
    (tmp_path / "proc" / "short").write_bytes(b"5\n")
    files = ProcFS(tmp_path)
    assert files.read("proc/long") == files.read_again("proc/long") == data
    assert files.read_text("proc/short") == "5"
    assert files.names("proc") == ["long", "short"]
    files.close()
    assert len(ProcFS("/").read("proc/self/maps")) > 4096


def test_two_names_that_statsd_could_not_tell_apart_are_refused_at_once(tmp_path):
    async def main():
        async with probing() as (_, client):
            await client.call("probe.add", {"name": "a.b", "record": {"probe": "dummy"}})
            with pytest.raises(RequestError, match=r"/probes/a_b: .* a\.b would both be named a_b\.\*"):
                await client.call("probe.add", {"name": "a_b", "record": {"probe": "ping"}})
            both = {"x y": {"probe": "dummy"}, "x.y": {"probe": "dummy"}}
            with pytest.raises(RequestError, match="x_y"):
                await client.call("probe.reload", {"config": {"probes": both}})

    run(main)
