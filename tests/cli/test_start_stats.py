"""`start --stats serve` and `start --with-aggregator`: a statsd server that lives and ends with the instance."""

from __future__ import annotations

import json
import subprocess
import sys

BROKERSIM = [sys.executable, "-m", "brokersim"]


def start(*options: str, inside: str) -> subprocess.CompletedProcess[str]:
    command = [*BROKERSIM, "start", "-m", "heartbeat", *options, "--", "sh", "-e", "-c", inside]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_embedded_server_gets_the_gauges_of_the_instance() -> None:
    done = start(
        "--stats", "serve",
        inside="brokersim module debug -s 0x1000 heartbeat >/dev/null; brokersim ping -c 1 heartbeat >/dev/null;"
        " brokersim status --json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)["stats"]
    assert stats["target"].startswith("http://127.0.0.1:")
    assert (stats["sent"] > 0, stats["refused"]) == (True, 0)


def test_a_supervised_aggregator_is_waited_for_and_gets_the_packets() -> None:
    server = f"{sys.executable} -m brokersim stats serve -l {{host}}:{{port}} --http none"
    done = start(
        "--with-aggregator", server,
        inside="brokersim module debug -s 0x1000 heartbeat >/dev/null; brokersim ping -c 1 heartbeat >/dev/null;"
        " brokersim status --json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stats"]["sent"] > 0
    assert "packets" in done.stderr  # what the aggregator says when it is stopped, which is last


def test_an_aggregator_that_ends_at_once_is_an_error_that_names_it() -> None:
    done = start("--with-aggregator", "false", inside="true")
    assert done.returncode == 1
    assert done.stderr == "error: aggregator 'false' ended with exit code 1 before it answered\n"


def test_a_statistics_target_that_cannot_be_is_refused_before_anything_starts() -> None:
    done = start("--stats", "serve:flush=never", inside="true")
    assert done.returncode == 2
    assert "not a duration: 'never'" in done.stderr
    assert "Traceback" not in done.stderr
