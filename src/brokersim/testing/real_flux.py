"""Knows how the same test runs against a real Flux: its `flux start`, its socket, its modules' own counters.

Only what Flux can do is here: messages, modules, counters of modules that leave the counting to Flux. No virtual
time, no laws, no faults, no metrics.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from brokersim.kit.deltas import Deltas
from brokersim.kit.keys import parse_key
from brokersim.kit.ledger import Party, Tally
from brokersim.net.client import Client
from brokersim.protocol.errnums import EPERM, RequestError
from brokersim.protocol.message import COUNTER_NAMES, NODEID_ANY, Message
from brokersim.realflux.started import INSIDE, kill_session
from brokersim.testing.callers import SocketCaller
from brokersim.testing.options import TestOptions
from brokersim.testing.waits import PATIENCE, Impatient

#: Seconds a Flux may take to start, and one of its commands.
_START, _COMMAND = 60.0, 30.0
_LOOK = 0.02


class FluxBroker:
    """A real instance of Flux, with those of `Broker`'s methods that it can have; all take real time."""

    def __init__(self, uri: str, caller: SocketCaller, client: Client) -> None:
        self.uri = uri
        self.events: list[Message] = []
        self._caller = caller
        self._client = client
        self._snapshots: Any = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"under --brokersim-flux there is no broker.{name}: a real Flux cannot do that; take the mark flux=True off"
        )

    async def load(self, path: str | Path, *args: str, rank: int = 0, name: str | None = None) -> None:
        """``flux module load``. Raises RequestError with what Flux said."""
        named = () if name is None else ("--name", name)
        await self._flux(rank, "module", "load", *named, str(path), *args)

    async def unload(self, name: str, rank: int = 0) -> None:
        """``flux module remove``. Raises RequestError with what Flux said."""
        await self._flux(rank, "module", "remove", name)

    async def _flux(self, rank: int, *words: str) -> None:
        where = ("exec", "-r", str(rank), "flux") if rank else ()
        with trio.fail_after(_COMMAND):
            done = await trio.run_process(
                ["flux", *where, *words],
                env={**os.environ, "FLUX_URI": self.uri},
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RequestError(done.returncode, done.stdout.decode(errors="replace").strip())

    async def rpc(
        self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, timeout: float = PATIENCE
    ) -> Any:
        """As `Broker.rpc`."""
        try:
            with trio.fail_after(timeout):
                return await self._caller.call(topic, payload, nodeid)
        except trio.TooSlowError:
            raise Impatient(f"no answer to {topic} within {timeout:g} s") from None

    async def publish(self, topic: str, payload: object = None) -> None:
        """Publish an event."""
        await self._caller.publish(topic, payload)

    async def subscribe(self, prefix: str) -> None:
        """Have events with this prefix appended to ``events``."""
        await self._caller.subscribe(prefix)

    async def advance(self, seconds: float) -> None:
        """Real seconds."""
        await trio.sleep(seconds)

    async def settle(self) -> None:
        """A moment: nobody outside can see whether a real instance is at rest."""
        await trio.sleep(0.1)

    def counters(self, module: str, rank: int = 0) -> dict[str, int]:
        """A module's eight counters, from its ``stats-get``. Raises RequestError, or ValueError if it tells none."""
        found = self._client.rpc(f"{module}.stats-get", nodeid=rank)
        if not {"tx", "rx"} <= set(found):
            raise ValueError(
                f"{module} answers stats-get with figures of its own: Flux does not tell its counters"
            )
        return {
            name: int(found[name.rpartition("_")[2]].get(_FLUX_NAMES.get(name.rpartition("_")[0], ""), 0))
            for name in COUNTER_NAMES
        }

    @contextmanager
    def deltas(self, *modules: str) -> Iterator[Deltas]:
        """As `Broker.deltas`, of modules that are named; our own two questions are taken off."""
        if not modules:
            raise ValueError("a real Flux: name the modules whose counters to watch")
        parties = tuple(_party(name) for name in modules)
        found = Deltas(_Asked(self, parties), parties)  # type: ignore[arg-type]  # it has what Deltas reads
        yield found
        found.close()

    async def wait_counter(self, key: str, *, ge: int, timeout: float = PATIENCE) -> int:
        """As `Broker.wait_counter`, by asking again and again (which the module counts, too)."""
        wanted = parse_key(key)
        try:
            with trio.fail_after(timeout):
                while (value := self.counters(wanted.name, wanted.rank)[wanted.counter]) < ge:
                    await trio.sleep(_LOOK)
        except trio.TooSlowError:
            raise Impatient(f"{key} is not {ge} within {timeout:g} s") from None
        return value

    async def verify(self) -> None:
        """The laws need to see every message; of a real Flux nobody does."""

    def report(self) -> str:
        """For a failed test."""
        return f"a real Flux at {self.uri}"


_FLUX_NAMES = {"request": "request", "response": "response", "event": "event", "keepalive": "control"}


class _Asked:
    """Counters of a real instance in the form of a ledger: one snapshot is one question to each module."""

    def __init__(self, broker: FluxBroker, parties: tuple[Party, ...]) -> None:
        self._broker = broker
        self._parties = parties
        self._asked = 0
        self.tallies: dict[Party, Tally] = {}

    def snapshot(self) -> dict[Party, Tally]:
        own = self._asked
        self._asked += 1
        self.tallies = {
            party: {
                # Each earlier question was a request, and its answer a response.
                (index, ""): count - (own if name in ("request_rx", "response_tx") else 0)
                for index, (name, count) in enumerate(self._broker.counters(party[1], party[0]).items())
            }
            for party in self._parties
        }
        return self.tallies


def _party(name: str) -> Party:
    head, dot, rank = name.rpartition(".")
    return (int(rank), head) if dot and rank.isdecimal() else (0, name)


def missing() -> str:
    """Why no real Flux can be tested with, "" if one can."""
    return "" if shutil.which("flux") else "no `flux` command on PATH"


@asynccontextmanager
async def opened_flux(options: TestOptions) -> AsyncIterator[FluxBroker]:
    """A real instance of that size. Needs trio on a real clock. Raises RuntimeError if it does not start."""
    command = ["flux", "start", f"--test-size={options.size}", "--", sys.executable, "-c", INSIDE]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        uri = await _first_line(process.stdout)
        if not uri.startswith("local://"):
            raise RuntimeError(f"`flux start` did not tell its address: {uri!r}")
        async with _connected(uri) as broker:
            yield broker
    finally:
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            with trio.move_on_after(_COMMAND):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            kill_session(process.pid)
            await process.stdout.aclose()


async def _first_line(stream: Any) -> str:
    text = b""
    with trio.move_on_after(_START):
        while b"\n" not in text:
            data = await stream.receive_some()
            if not data:
                break
            text += data
    return text.partition(b"\n")[0].decode(errors="replace").strip()


@asynccontextmanager
async def _connected(uri: str) -> AsyncIterator[FluxBroker]:
    client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await client.connect(uri.removeprefix("local://"))
    stream = trio.SocketStream(client)
    if await stream.receive_some(1) != b"\0":
        raise RequestError(EPERM, "Flux refuses this user")
    events: list[Message] = []
    caller = SocketCaller(stream, events.append)
    with Client.connect(uri) as asking:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(caller.read))
            broker = FluxBroker(uri, caller, asking)
            broker.events = events
            yield broker
            nursery.cancel_scope.cancel()
    client.close()
