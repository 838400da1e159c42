"""Flux's own command line against an instance, where a `flux` is on PATH; skipped loudly elsewhere.

One test a group of rows of docs/flux-compat.md: start, broker, modules, KVS, content, events, cron, jobs, resources,
exec. The same rows are tested everywhere by a client of the protocol written for that (minimal_client).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

FLUX = shutil.which("flux")
SKIPPED = (
    "NOT TESTED AGAINST FLUX: no `flux` on PATH; tests/fluxcompat has a client of its own for the protocol"
)
#: What makes a job run its command here: jobs are simulated else.
REAL = "--setattr=system.brokersim.exec=1"
MODULE = """\
from flux.brokermod import BrokerModule, request_handler


class Real(BrokerModule):
    @request_handler("args")
    def answer(self, msg):
        self.handle.respond(msg, {"args": list(self.args)})
"""


@pytest.fixture(autouse=True, scope="module")
def real_flux() -> None:
    if FLUX is None:
        warnings.warn(SKIPPED, stacklevel=1)
        pytest.skip(SKIPPED)


def run(uri: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FLUX_URI": uri}
    return subprocess.run(
        [FLUX or "flux", *words], env=environment, input=stdin, capture_output=True, text=True, timeout=60
    )


def flux(uri: str, *words: str, stdin: str = "") -> str:
    """The output of one command; a failure shows what it said."""
    done = run(uri, *words, stdin=stdin)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_an_instance_is_started_around_fluxs_tools(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "brokersim.cli.main",
        "start",
        "-s",
        "2",
        "--",
        FLUX or "flux",
        "getattr",
        "size",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("getattr", "size"), "2"),
        (("lsattr",), "content.hash"),
        (("lsattr", "-v"), "sha1"),
        (("version",), "broker"),
        (("ping", "-c", "1", "kvs"), "kvs.ping"),
        (("ping", "-c", "1", "-r", "1", "kvs"), "kvs.ping"),
        (("uptime",), ""),
        (("overlay", "status"), ""),
        (("config", "get"), ""),
        (("dmesg",), ""),
        (("module", "list"), "kvs-watch"),
        (("module", "list", "-l"), "kvs-watch"),
        (("module", "stats", "kvs"), '"tx"'),
        (("module", "stats", "--parse", "tx.request", "cron"), ""),
        (("module", "stats", "--clear", "cron"), ""),
        (("module", "stats", "--rusage", "cron"), "utime"),
        (("module", "debug", "--setbit", "0x2", "cron"), "0x2"),
        (("module", "debug", "--clear", "cron"), "0x0"),
        (("kvs", "namespace", "list"), "primary"),
        (("kvs", "getroot"), "dirref"),
        (("kvs", "version"), ""),
        (("content", "flush"), ""),
        (("content", "dropcache"), ""),
        (("cron", "list"), ""),
        (("cron", "sync"), ""),
        (("event", "pub", "a.b"), ""),
        (("event", "pub", "-s", "a.b"), ""),
        (("event", "pub", "-l", "a.b", '{"a":1}'), ""),
        (("resource", "list"), ""),
        (("resource", "status"), ""),
        (("queue", "status"), ""),
        (("queue", "idle"), ""),
        (("jobs", "-a"), "JOBID"),
        (("job", "list"), ""),
    ],
)
def test_a_command_of_fluxs_own_runs(uri: str, words: tuple[str, ...], part: str) -> None:
    assert part in flux(uri, *words)


def test_attributes_and_the_log_are_written(uri: str) -> None:
    flux(uri, "setattr", "test.real", "5")
    assert flux(uri, "getattr", "test.real").strip() == "5"
    flux(uri, "dmesg", "--clear")
    flux(uri, "logger", "--severity=err", "hello from flux")
    assert "hello from flux" in flux(uri, "dmesg")
    assert run(uri, "getattr", "no.such").returncode != 0


def test_a_module_file_is_loaded_reloaded_and_removed(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "real.py"
    path.write_text(MODULE)
    flux(uri, "module", "load", str(path), "a=1")
    assert "real" in flux(uri, "module", "list")
    flux(uri, "ping", "-c", "1", "real")
    flux(uri, "module", "reload", str(path))
    flux(uri, "module", "remove", "real")
    assert run(uri, "ping", "-c", "1", "real").returncode != 0


def test_what_fluxs_own_tools_put_they_get_back(uri: str) -> None:
    flux(uri, "kvs", "put", "real.a=1", "real.b=x")
    assert flux(uri, "kvs", "get", "real.a").strip() == "1"
    assert flux(uri, "kvs", "ls", "real").split() == ["a", "b"]
    assert "real.a" in flux(uri, "kvs", "dir", "real")
    assert flux(uri, "kvs", "get", "--watch", "--count=1", "real.b").strip() == "x"
    flux(uri, "kvs", "link", "real.a", "real.l")
    assert flux(uri, "kvs", "readlink", "real.l").strip() == "real.a"
    assert flux(uri, "kvs", "get", "real.l").strip() == "1"
    flux(uri, "kvs", "mkdir", "real.d")
    flux(uri, "kvs", "eventlog", "append", "real.log", "hello", '{"a":1}')
    assert "hello" in flux(uri, "kvs", "eventlog", "get", "real.log")
    raw = flux(uri, "kvs", "get", "--treeobj", "real.log").strip()
    flux(uri, "kvs", "put", "--treeobj", f"real.t={raw}")
    assert flux(uri, "kvs", "get", "--treeobj", "real.t").strip() == raw
    flux(uri, "kvs", "unlink", "-R", "real")
    assert run(uri, "kvs", "get", "real.a").returncode != 0


def test_namespaces_are_made_and_removed(uri: str) -> None:
    flux(uri, "kvs", "namespace", "create", "realns")
    flux(uri, "kvs", "put", "--namespace=realns", "q=1")
    root = flux(uri, "kvs", "getroot", "--namespace=realns", "--blobref").strip()
    assert root == "sha1-465513047ac02de9e99956de8ce6365189b4f329"
    flux(uri, "kvs", "wait", "--namespace=realns", "1")
    flux(uri, "kvs", "namespace", "remove", "realns")
    assert run(uri, "kvs", "get", "--namespace=realns", "q").returncode != 0


def test_content_is_stored_and_loaded(uri: str) -> None:
    blobref = flux(uri, "content", "store", stdin="hello\n").strip()
    assert blobref == "sha1-f572d396fae9206628714fb2ce00f72e94f2258f"
    assert flux(uri, "content", "load", blobref) == "hello\n"


def test_an_event_reaches_its_subscriber(uri: str) -> None:
    environment = {**os.environ, "FLUX_URI": uri}
    command = [FLUX or "flux", "event", "sub", "--count=1", "real.event"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as subscriber:
        while subscriber.poll() is None:  # until it has subscribed
            flux(uri, "event", "pub", "real.event", '{"a":1}')
        assert subscriber.stdout is not None and "real.event" in subscriber.stdout.read()


def test_cron_entries_are_made_listed_stopped_started_and_deleted(uri: str) -> None:
    for words in (("interval", "-N", "real", "1h", "true"), ("event", "-N", "real", "real.cron", "true")):
        number = flux(uri, "cron", *words).split("cron-")[1].split()[0].rstrip(":")
        assert "real" in flux(uri, "cron", "list")
        flux(uri, "cron", "stop", number)
        flux(uri, "cron", "start", number)
        assert "true" in flux(uri, "cron", "dump", number)
        flux(uri, "cron", "delete", number)


def test_a_simulated_job_runs_to_its_end(uri: str) -> None:
    job = flux(uri, "submit", "true").strip()
    flux(uri, "job", "wait-event", "-t", "10", job, "clean")
    assert "finish" in flux(uri, "job", "eventlog", job)
    assert job in flux(uri, "jobs", "-a", "--no-header")
    assert '"version": 1' in flux(uri, "job", "info", job, "R").replace('":1', '": 1')


def test_a_job_is_cancelled_and_the_queue_drained(uri: str) -> None:
    job = flux(uri, "submit", "--time-limit=1h", "sleep", "100").strip()
    flux(uri, "job", "wait-event", "-t", "10", job, "start")
    flux(uri, "cancel", job)
    flux(uri, "job", "wait-event", "-t", "10", job, "clean")
    flux(uri, "queue", "drain")


@pytest.fixture
def reopened(uri: str) -> Iterator[None]:
    yield
    flux(uri, "queue", "enable")


@pytest.mark.usefixtures("reopened")
def test_a_closed_queue_takes_no_jobs(uri: str) -> None:
    flux(uri, "queue", "disable", "-m", "maintenance")
    refused = run(uri, "submit", "true")
    assert refused.returncode != 0 and "maintenance" in refused.stderr


def test_a_real_command_has_input_output_and_an_exit_code(uri: str) -> None:
    done = run(uri, "run", REAL, "sh", "-c", "cat; echo err >&2; exit 3", stdin="b\na\n")
    assert (done.returncode, done.stdout) == (3, "b\na\n")
    assert "err" in done.stderr


def test_a_real_flux_comes_up_inside_a_job_and_offers_its_address(uri: str) -> None:
    assert flux(uri, "run", REAL, FLUX or "flux", "start", "flux", "getattr", "instance-level") == "1\n"
    assert "uri=" in flux(uri, "job", "eventlog", flux(uri, "job", "last").strip())


def test_a_node_is_drained_and_undrained(uri: str) -> None:
    flux(uri, "resource", "drain", "0", "fans")
    assert "fans" in flux(uri, "resource", "drain")
    flux(uri, "resource", "undrain", "0")
    assert "fans" not in flux(uri, "resource", "drain")


def test_commands_are_executed_on_ranks(uri: str) -> None:
    assert sorted(flux(uri, "exec", "-r", "0-1", "flux", "getattr", "rank").split()) == ["0", "1"]
    assert flux(uri, "exec", "-r", "1", "cat", stdin="input").strip() == "input"
    assert run(uri, "exec", "-r", "0", "sh", "-c", "exit 7").returncode == 7
