"""Flux's own command line against an instance, where a `flux` is on PATH; skipped loudly elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings

import pytest

FLUX = shutil.which("flux")


@pytest.fixture(autouse=True, scope="module")
def real_flux() -> None:
    if FLUX is None:
        text = "NOT TESTED AGAINST FLUX: no `flux` on PATH; tests/fluxcompat has a client of its own for the protocol"
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)


def flux(uri: str, *words: str) -> str:
    """The output of one command; a failure shows what it said."""
    command = [FLUX or "flux", *words]
    environment = {**os.environ, "FLUX_URI": uri}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("getattr", "size"), "2"),
        (("lsattr",), "content.hash"),
        (("ping", "-c", "1", "kvs"), "kvs.ping"),
        (("module", "list"), "kvs-watch"),
        (("module", "stats", "kvs"), '"tx"'),
        (("module", "debug", "--setbit", "0x2", "cron"), "0x2"),
        (("kvs", "namespace", "list"), "primary"),
        (("kvs", "getroot"), "dirref"),
        (("cron", "list"), ""),
        (("event", "pub", "-s", "a.b"), ""),
        (("dmesg",), ""),
        (("uptime",), ""),
        (("resource", "list"), ""),
        (("queue", "status"), ""),
        (("jobs", "-a"), "JOBID"),
    ],
)
def test_a_command_of_fluxs_own_runs(uri: str, words: tuple[str, ...], part: str) -> None:
    assert part in flux(uri, *words)


def test_what_fluxs_own_tools_put_they_get_back(uri: str) -> None:
    flux(uri, "kvs", "put", "real.a=1", "real.b=x")
    assert flux(uri, "kvs", "get", "real.a").strip() == "1"
    assert flux(uri, "kvs", "ls", "real").split() == ["a", "b"]
    assert flux(uri, "kvs", "get", "--watch", "--count=1", "real.b").strip() == "x"


def test_a_job_of_fluxs_own_tools_runs_to_its_end(uri: str) -> None:
    job = flux(uri, "submit", "true").strip()
    flux(uri, "job", "wait-event", "-t", "10", job, "clean")
    assert "finish" in flux(uri, "job", "eventlog", job)
