"""A running instance of two ranks, as `brokersim start --detach` makes it, for clients of its sockets.

With ``BROKERSIM_TESTS_WITHIN`` set it runs in a thread of the tests: what a change of src does can be tried in a fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from brokersim.instance import Instance
from brokersim.net.connector import Connector
from brokersim.net.module_process import ModuleProcesses
from brokersim.net.options import DEFAULT_MODULES
from brokersim.program import run
from brokersim.protocol.settings import ClockKind
from brokersim.services.composition import Settings
from tests.fluxcompat.minimal_client import MinimalClient

#: A second user; the owner of the instance poses as it.
GUEST = (4242, 2)


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with instance_of_two(tmp_path_factory.mktemp("f")) as uri:
        yield uri


@contextmanager
def instance_of_two(folder: Path) -> Iterator[str]:
    """The address of an instance that ends with the block; its sockets are somewhere below ``folder``."""
    made = _in_a_thread if os.environ.get("BROKERSIM_TESTS_WITHIN") else _in_a_process
    with made(folder) as uri:
        yield uri
        with MinimalClient(uri) as client:
            client.rpc("broker.stop")


@contextmanager
def _in_a_process(folder: Path) -> Iterator[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BROKERSIM_", "FLUX_"))}
    source = str(Path(__file__).parents[2] / "src")
    environment = {**kept, "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder), "PYTHONPATH": source}
    command = [sys.executable, "-m", "brokersim.cli.main", "start", "--detach", "-s", "2"]
    command += ["--jobs", "simulated"]  # a job runs its command where its test says so
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    yield done.stdout.split()[0]


@contextmanager
def _in_a_thread(folder: Path) -> Iterator[str]:
    listening = threading.Event()
    addresses: list[str] = []

    async def serve() -> None:
        settings = Settings(size=2, jobs="simulated", modules=DEFAULT_MODULES, clock=ClockKind.parse("real"))
        instance = Instance(settings, launcher=ModuleProcesses({}))
        connector = Connector(instance, folder)
        for rank in range(2):
            instance.broker(rank).attributes.fix("rundir", str(folder))
        connector.listen()
        try:
            async with instance.running(), trio.open_nursery() as nursery:
                nursery.start_soon(connector.serve)
                addresses.append(connector.uri)
                listening.set()
                await instance.stopped.wait()
                nursery.cancel_scope.cancel()
        finally:
            connector.close()

    thread = threading.Thread(target=lambda: run(serve, clock="real"), daemon=True)
    thread.start()
    assert listening.wait(30)
    yield addresses[0]
    thread.join(30)


@pytest.fixture
def connect(uri: str) -> Iterator[Callable[..., MinimalClient]]:
    """Makes clients of rank 0, or of another."""
    clients: list[MinimalClient] = []

    def make(poses_as: tuple[int, int] | None = None, rank: int = 0) -> MinimalClient:
        where = uri.replace("local-0", f"local-{rank}")
        clients.append(MinimalClient(where, poses_as) if poses_as else MinimalClient(where))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., MinimalClient]) -> MinimalClient:
    return connect()


@pytest.fixture
def guest(connect: Callable[..., MinimalClient]) -> MinimalClient:
    return connect(GUEST)
