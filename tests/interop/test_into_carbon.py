"""Our Graphite output into carbon, read back with whisper; and what whisper says of the retentions we explain."""

from __future__ import annotations

import json
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from brokersim.statsd.retention import explain_retention
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings
from tests.interop.peers import carbon, free_port, listens, process, until

CARBON = """
[cache]
LOCAL_DATA_DIR = {folder}/whisper
LOG_DIR = {folder}/log
PID_DIR = {folder}
USER =
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = inf
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {port}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle_port}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query_port}
ENABLE_LOGROTATION = False
ENABLE_TAGS = False
"""
pytestmark = pytest.mark.xdist_group("peers")


@contextmanager
def carbon_cache(folder: Path, retention: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """carbon-cache with one rule, and the port of its line receiver. It may have ended already."""
    port = free_port()
    config = folder / "carbon.conf"
    config.write_text(
        CARBON.format(folder=folder, port=port, pickle_port=free_port(), query_port=free_port())
    )
    (folder / "storage-schemas.conf").write_text(f"[all]\npattern = .*\nretentions = {retention}\n")
    command = [*carbon("carbon-cache.py"), f"--config={config}", "--nodaemon", "start"]
    with process(
        command, folder / "talk", GRAPHITE_ROOT=str(folder), GRAPHITE_STORAGE_DIR=str(folder)
    ) as child:
        until(lambda: listens(port) or child.poll() is not None, "carbon")
        yield child, port


def read_back(path: Path, start: float) -> dict[int, float]:
    """The points of a whisper file by their second."""
    done = subprocess.run(
        [*carbon("whisper-fetch.py"), "--json", f"--from={int(start) - 1}", str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return {
        told["start"] + number * told["step"]: value
        for number, value in enumerate(told["values"])
        if value is not None
    }


def kept_in(path: Path) -> dict[int, float]:
    """The points of a whisper file of one archive, by their second: read here, for whoever looks at hundreds of files.

    Its layout: four fields of the whole, the number of archives last; offset, step and points of each archive; then
    points of a time and a double. What was never written has time 0.
    """
    data = path.read_bytes()
    if len(data) < 28:
        return {}  # being made
    (offset, _, points) = struct.unpack_from(">LLL", data, 16)
    archive = data[offset : offset + 12 * points]
    return {
        second: value
        for second, value in struct.iter_unpack(">Ld", archive[: len(archive) // 12 * 12])
        if second
    }


async def test_what_we_flush_is_what_whisper_stores_second_by_second(tmp_path: Path):
    with carbon_cache(tmp_path, "1s:1h") as (_, port):
        start = time.time()
        settings = ServeSettings(
            listen=(), flush_s=1.0, outputs=(f"graphite://127.0.0.1:{port}",), own_metrics=False
        )
        server = StatsdServer(settings)
        flushed: dict[int, float] = {}
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                with server.wiretap.open(lines=False) as tap:
                    server.feed(b"flux.kvs.0.request_rx:5|g\nflux.hits:3|c\nflux.load:1:2:3:4|ms")
                    async for item in tap:
                        flushed[int(item.t)] = item.flush.gauges["flux.kvs.0.request_rx"]
                        if len(flushed) == 3:
                            break
                        server.feed(b"flux.kvs.0.request_rx:+7.25|g")
                server.stop()
        stored = tmp_path / "whisper/stats/gauges/flux/kvs/0/request_rx.wsp"
        until(stored.exists, "carbon's file")
        until(
            lambda: flushed.items() <= read_back(stored, start).items(),
            f"{flushed} in {read_back(stored, start)}",
        )
        assert list(flushed.values()) == [5, 12.25, 19.5]
        assert read_back(stored, start).items() <= kept_in(stored).items()
        counts = read_back(tmp_path / "whisper/stats/counters/flux/hits/count.wsp", start)
        assert counts[min(flushed)] == 3
        uppers = read_back(tmp_path / "whisper/stats/timers/flux/load/upper_90.wsp", start)
        assert list(uppers.values()) == [4]


def test_carbon_refuses_the_retention_that_we_say_it_refuses(tmp_path: Path):
    with carbon_cache(tmp_path, "0.1s:1d") as (child, _):
        assert child.wait(60) == 1
    report = explain_retention("0.1s:1d")
    assert not report.ok
    assert "carbon refuses to start" in report.text


@pytest.mark.parametrize("retention", ["1s:1d", "1s:1h,60s:7d"])
def test_a_whisper_file_is_as_large_as_we_say(tmp_path: Path, retention: str):
    path = tmp_path / "x.wsp"
    command = [*carbon("whisper-create.py"), str(path), *retention.split(",")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert path.stat().st_size == explain_retention(retention).bytes


@pytest.mark.parametrize("retention", ["10s:1h,25s:1d", "60s:1h,10s:1d", "1s:5s,10s:1d"])
def test_whisper_refuses_the_archives_that_we_say_do_not_fit(tmp_path: Path, retention: str):
    command = [*carbon("whisper-create.py"), str(tmp_path / "x.wsp"), *retention.split(",")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode != 0, explain_retention(retention).ok) == (True, False), done.stderr
