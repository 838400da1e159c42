"""A client that floods an instance keeps another waiting for a share of its messages, not for all of them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import trio

import brokersim
from brokersim.net.connector import READ_SHARE
from brokersim.net.module_process import ModuleProcess
from brokersim.protocol.message import FLAG_NORESPONSE, REQUEST, Message
from brokersim.protocol.wire import encode
from tests.net.live_socket import Live, serve

FLOOD = 1500


# Read by 64 KiB a ping waits for 3,300 messages of the 31,500 and more, or for 230.
@pytest.mark.parametrize(("behind_each", "most"), [(20, 2000), (0, 60)])
def test_a_ping_beside_a_flood_waits_for_a_few_of_its_requests_and_what_they_bring(
    tmp_path: Path, behind_each: int, most: int
) -> None:
    waits: list[int] = []

    async def body(live: Live) -> None:
        flooder, other = await live.peer(), await live.peer()
        chain = live.instance.broker(0).module("chain").body
        # As long as a submission of a job.
        one = encode(
            Message(REQUEST, "chain.step", {"left": behind_each, "pad": "x" * 500}, 0x08 | FLAG_NORESPONSE)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flooder.send, one * FLOOD)
            await live.until(lambda: chain.steps)
            while chain.ended < FLOOD:
                before = chain.steps
                assert (await other.ask("chain.ping")).errnum == 0
                waits.append(chain.steps - before)
        assert chain.steps == FLOOD * (behind_each + 1)

    serve(tmp_path, body, "chain")
    assert max(waits) < most
    assert len(waits) > 20


@pytest.mark.parametrize("size", [1 << 14, 1 << 18])
def test_a_long_frame_is_read_as_fast_as_ever(tmp_path: Path, size: int) -> None:
    reads: list[int] = []

    async def body(live: Live) -> None:
        peer = await live.peer()
        (connection,) = live.connector.connections
        plain = type(connection)._take

        def take(self: object, data: bytes) -> bool:
            reads.append(len(data))
            return plain(connection, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(connection), "_take", take)
            assert (await peer.ask("chain.ping", {"pad": "x" * size})).errnum == 0

    serve(tmp_path, body, "chain")
    assert len(reads) <= 4 + size // (1 << 14)


SHOWER = """\
import gc, socket
from brokersim.protocol.message import FLAG_NORESPONSE, REQUEST, Message
from brokersim.protocol.wire import encode
from flux.brokermod import BrokerModule, request_handler

class Shower(BrokerModule):
    @request_handler("pour")
    def pour(self, msg):
        wire = next(one for one in gc.get_objects() if isinstance(one, socket.socket) and one.fileno() >= 0)
        drop = Message(REQUEST, "shower.drop", {"pad": "x" * msg.payload["size"]}, FLAG_NORESPONSE)
        wire.sendall(encode(drop) * msg.payload["drops"])
        self.handle.respond(msg)
"""


@pytest.mark.parametrize(("drops", "size", "reads_more"), [(3000, 20, False), (10, 30_000, True)])
def test_a_module_in_a_process_is_read_in_pieces_as_small_unless_its_frames_are_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: int, size: int, reads_more: bool
) -> None:
    (tmp_path / "shower.py").write_text(SHOWER)
    reads: list[int] = []
    plain = ModuleProcess._take

    def take(self: ModuleProcess, data: bytes) -> None:
        reads.append(len(data))
        plain(self, data)

    monkeypatch.setattr(ModuleProcess, "_take", take)

    async def main() -> None:
        with trio.fail_after(60):
            async with brokersim.open_instance(modules=(), clock="real") as instance:
                await instance.load(f"{tmp_path}/shower.py", as_process=True)
                await instance.client().call("shower.pour", {"drops": drops, "size": size})

    brokersim.run(main, clock="real")
    assert max(reads) >= READ_SHARE
    assert (max(reads) > READ_SHARE) == reads_more


@pytest.mark.parametrize(("clock", "young"), [("virtual", 100_000), ("real", 10_000)])
def test_a_collection_in_real_time_is_short_since_clients_wait_for_it(clock: str, young: int) -> None:
    async def main() -> int:
        return gc.get_threshold()[0]

    before = gc.get_threshold()
    assert brokersim.run(main, clock=clock) == young
    assert gc.get_threshold() == before
