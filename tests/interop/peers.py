"""Knows where the real servers are and how each is started for one test; nothing of what is tested.

`make peers` puts them there. What is missing is skipped with its reason.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NODE_STATSD = ROOT / "build" / "npm" / "node_modules" / "statsd" / "stats.js"
INTEROP = ROOT / "build" / "interop" / "bin"
#: A peer that takes longer is taken to hang.
PATIENCE = 60.0


def node_statsd() -> list[str]:
    """The command of node statsd, but for its configuration. Skips if it is not there."""
    node = shutil.which("node") or shutil.which("nodejs")
    stats = Path(os.environ.get("BROKERSIM_NODE_STATSD") or NODE_STATSD)
    if node is None or not stats.exists():
        pytest.skip(
            "no node statsd: run `make peers` (it needs npm), or set BROKERSIM_NODE_STATSD=…/stats.js"
        )
    return [node, str(stats)]


def brubeck() -> str:
    """brubeck, which nobody packages. Skips if it is not there; its recorded answers are tested in any case."""
    path = os.environ.get("BROKERSIM_BRUBECK") or shutil.which("brubeck")
    if path is None:
        pytest.skip("no brubeck: set BROKERSIM_BRUBECK to one (tests/data/statsd_cases.json has its answers)")
    return path


def debian(program: str) -> str:
    """A daemon of Debian's. Skips if it is not there."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"no {program}: run `make peers` (it needs apt-get and root)")
    return path


def carbon(script: str) -> list[str]:
    """The command of one of carbon's or whisper's scripts. Skips if it is not there."""
    if not (INTEROP / script).exists():
        pytest.skip(f"no {script}: run `make peers`")
    return [str(INTEROP / "python"), str(INTEROP / script)]


def _lowest_given() -> int:
    """The lowest port this system gives to sockets which ask for any."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def free_port() -> int:
    """A port free for TCP and UDP now, which nobody who asks for any port is given before its server binds it.

    A server of somebody else's has to be told a number. One that was free a moment ago is lost between its choice and
    the server's start where thousands of sockets are made beside it: so it is taken from below what is given out.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, _lowest_given())
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


#: The logs of the peers that run, with their processes: who waits in vain says what they said.
_running: list[tuple[subprocess.Popen[bytes], Path]] = []


def _said() -> str:
    return "".join(
        f"\n{log.name} (ended with {child.poll()}): {log.read_text(errors='replace')[-1000:]}"
        for child, log in _running
    )


def until(condition: Callable[[], object], what: str) -> None:
    """Waits in real time: peers have clocks of their own.

    :raises AssertionError: not within ``PATIENCE``; with the last words of every peer that runs.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:g} s{_said()}"
        time.sleep(0.01)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A peer in a process group of its own, killed at the end; its talk goes to ``log``."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    _running.append((child, log))
    try:
        yield child
    finally:
        _running.remove((child, log))
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
                child.wait(PATIENCE if number == signal.SIGTERM else None)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


class GraphiteSink:
    """Stands where carbon would and keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    sink.lines.append(line.decode().rstrip("\n"))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def flushes(self) -> list[dict[str, float]]:
        """Each flush that is whole: node statsd ends one with how many series it had."""
        whole: list[dict[str, float]] = []
        current: dict[str, float] = {}
        for name, value, _ in map(str.split, list(self.lines)):
            current[name] = float(value)
            if name.endswith("numStats"):
                whole.append(current)
                current = {}
        return whole

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def graphite_sink() -> Iterator[GraphiteSink]:
    sink = GraphiteSink()
    yield sink
    sink.close()
