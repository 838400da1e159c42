"""Knows how a short process, a short connection and an idle one are timed, and how a real Flux stands beside."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import _server

from brokersim.protocol import lean
from brokersim.realflux.place import Flux, NoFlux, environment, find_flux
from brokersim.realflux.started import started

#: What an installer writes (pip from 25 on, uv): without the import of re that older ones add.
_PROGRAM = """#!{python}
import sys
from brokersim.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""
PING = lean.request("kvs.ping", {"seq": 1, "pad": ""})
_READ = 1 << 16
_UCRED = struct.Struct("3i")


def add_flux(parser: argparse.ArgumentParser) -> None:
    """``--flux``: without one, and with none on PATH, rows beside it are left out, and it is said."""
    parser.add_argument("--flux", default=shutil.which("flux"), help="a real Flux's command")


def flux_beside(given: str | None) -> Flux | None:
    """The real Flux to stand beside; None, told on stderr, if there is none."""
    if given is None:
        print("SKIPPING rows beside a real Flux: no `flux` on PATH; name one with --flux", file=sys.stderr)
        return None
    try:
        return find_flux(given)
    except NoFlux as error:
        raise SystemExit(f"error: {error}") from None


@contextmanager
def peers(flux: Flux | None) -> Iterator[dict[str, str]]:
    """Addresses of an instance of ours, ``here``, and, if there is a Flux, of one of its own, ``flux``."""
    with ExitStack() as stack:
        stack.enter_context(_as_installed())
        uris = {"here": stack.enter_context(_server.instance())}
        if flux is not None:
            uris["flux"] = stack.enter_context(started(flux))
        yield uris


@contextmanager
def _as_installed() -> Iterator[None]:
    """What processes import was compiled before, ours and Flux's, as at who has installed them.

    In a folder of its own, so that the checkout of who runs this stays as it is.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def program(folder: Path) -> str:
    """The ``brokersim`` command as an installer would write it."""
    path = folder / "brokersim"
    path.write_text(_PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def variables(uri: str) -> dict[str, str]:
    """The environment of a command that talks to that instance."""
    return {**environment(), "FLUX_URI": uri, "BROKERSIM_URI": uri}


def spent(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """CPU and wall milliseconds of a process and what it waited for; it must succeed."""
    before, started_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    wall, after = time.perf_counter() - started_at, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1e3, wall * 1e3


def short_connection(uri: str, count: int) -> float:
    """Median µs of: connect, be welcomed, one kvs.ping, close."""
    path, taken = uri.removeprefix("local://"), []
    for _ in range(count):
        started_at = time.perf_counter()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            client.recv(1)
            client.sendall(PING)
            client.recv(_READ)
        taken.append(time.perf_counter() - started_at)
    return statistics.median(taken) * 1e6


def broker_cpu(uri: str, count: int) -> float:
    """µs of CPU the broker spends on one such connection; what it does beside, a heartbeat, is spread on all."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(uri.removeprefix("local://"))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    threads = f"/proc/{_UCRED.unpack(credentials)[0]}/task"
    before = _spent_by(threads)
    short_connection(uri, count)
    return (_spent_by(threads) - before) / count


def _spent_by(threads: str) -> float:
    """µs of CPU that threads have had so far."""
    parts = (Path(threads) / one / "schedstat" for one in os.listdir(threads))
    return sum(int(part.read_text().split()[0]) for part in parts) / 1e3


def ping_after(uri: str, pause_s: float, count: int) -> float:
    """Median µs of a kvs.ping on one connection, each after a pause."""
    taken = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(uri.removeprefix("local://"))
        client.recv(1)
        for _ in range(count):
            time.sleep(pause_s)
            started_at = time.perf_counter()
            client.sendall(PING)
            client.recv(_READ)
            taken.append(time.perf_counter() - started_at)
    return statistics.median(taken) * 1e6


def without_ours() -> dict[str, str]:
    """For pytest: nothing of our environment but what finds programs and files."""
    return {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
