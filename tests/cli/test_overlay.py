"""`overlay status`, `trace` and `fault` against a real instance of five ranks, whose clock jumps over their time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from brokersim.net.client import Client
from tests.cli.conftest import Run

COMMAND = [
    sys.executable,
    "-m",
    "brokersim",
    "start",
    "-s",
    "5",
    "--clock",
    "virtual",
    "-m",
    "heartbeat,content-cache",
]
TREE = """\
0
├─ 1
│  ├─ 3
│  └─ 4
└─ 2
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """An instance that ends when its command's stdin does."""
    words = [*COMMAND, "--", "sh", "-c", "echo $BROKERSIM_URI; read x"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SHELL": "/bin/sh"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def uri(shared: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BROKERSIM_URI", shared)
    return shared


def test_the_trace_shows_what_passes_a_link(uri: str, run: Run) -> None:
    stop = threading.Event()

    def ask() -> None:
        with Client.connect(uri) as client:
            while not stop.is_set():
                client.rpc("broker.ping", {"a": 1}, nodeid=3)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        seen = run("overlay", "trace", "-r", "1", "-c", "4", "broker.ping")
    finally:
        stop.set()
        asking.join(10)
    assert seen.code == 0
    ways = {tuple(line.split()[1:5]) for line in seen.out.splitlines()}
    assert ways <= {
        (rank, way, arrow, "broker.ping") for rank in "03" for way in ("rx", "tx") for arrow in "><"
    }
    assert len(ways) >= 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("drop", "0"), "error: no link above rank 0: name the lower end of one, rank 1 to 4"),
        (("drop", "9"), "error: no link above rank 9"),
        (("drop", "1", "--p", "2"), "error: --p 2: give a chance above 0 and at most 1"),
        (("kill", "1", "--for", "3s"), "error: a kill is for good: it has no --for"),
        (("kill", "1", "--p", "0.5"), "error: --p is of each message; a kill happens or not"),
        (("drop", "1", "--by", "1s"), "error: --by is how much later; a drop has none"),
        (("explode", "1"), "error: invalid value for 'drop|delay|disconnect|kill': 'explode'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_exit_2(
    uri: str, run: Run, words: tuple[str, ...], text: str
) -> None:
    found = run("overlay", "fault", *words)
    assert (found.code, found.out, found.err.startswith(text)) == (2, "", True), found.err


def test_a_fault_tells_what_it_hit_and_nothing_is_a_failure(uri: str, run: Run) -> None:
    assert run("overlay", "status") == (0, TREE, "")
    lost = run("overlay", "fault", "drop", "1", "--for", "3s", "--json")
    # The command before may still be leaving: its disconnects are hit as well.
    what = {name: hits for name, hits in lost.json["what"].items() if not name.endswith(".disconnect")}
    assert lost.code == 0 and list(what) == ["event heartbeat.pulse"]
    assert sum(lost.json["what"].values()) == lost.json["hits"]
    late = run("overlay", "fault", "delay", "2", "--for", "5s", "--by", "50ms", "--topic", "heartbeat.*")
    assert late.code == 0 and late.out.startswith("delay 2: ") and "event heartbeat.pulse" in late.out
    idle = run("overlay", "fault", "drop", "3", "--for", "3s", "--topic", "nothing.*")
    assert (idle.code, idle.out) == (1, "drop 3: hit nothing\n")
    cut = run("overlay", "fault", "disconnect", "1", "--for", "1s")
    assert (cut.code, cut.out) == (0, "disconnect 1: 1 hit\n     1 link\n")
    assert run("overlay", "status") == (0, TREE, "")
    # For good, so at the end of the file: the tests here share one instance.
    gone = run("overlay", "fault", "kill", "3")
    assert (gone.code, gone.out) == (0, "kill 3: 2 hit\n     1 link\n     1 module content-cache\n")
    now = run("overlay", "status")
    assert now.code == 1 and "│  ├─ 3  lost, with all below it\n" in now.out
    assert run("ping", "-c", "1", "3").code == 4
