"""Packets by a socket of the module file's own: charged in modelled time, told once beside the built-in ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokersim.instance import Instance
from brokersim.program import open_instance, run
from brokersim.reactor.cost import CostModel
from brokersim.routing.sink import MemorySink

COUNTERS = str(Path(__file__).parents[2] / "examples" / "flux_modules" / "counters.py")
#: A file that sends one packet a request, in each way there is.
MODULE = """\
import socket
from socket import socket as plain

from brokersim.brokermod import BrokerModule, request_handler


class Sender(BrokerModule):
    def __init__(self, h, host, port):
        super().__init__(h)
        self.to = (host, int(port))
        self.own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.other = plain(socket.AF_INET, socket.SOCK_DGRAM)
        self.other.connect(self.to)
        self.stream, self.end = socket.socketpair()
        assert isinstance(self.stream, socket.socket) and isinstance(self.own, plain) and not isinstance(1, plain)

    @request_handler("way")
    def way(self, msg):
        way = msg.payload["way"]
        if way == "sendto":
            self.own.sendto(b"a:1|c", self.to)
        elif way == "send":
            self.other.send(b"a:1|c")
        elif way == "sendmsg":
            self.other.sendmsg([b"a:1|c"])
        elif way == "stream":
            self.stream.send(b"no packet")
        self.handle.respond(msg, {})
"""


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        yield found


def address(receiver: socket.socket) -> str:
    return f"127.0.0.1:{receiver.getsockname()[1]}"


async def took(instance: Instance, topic: str, payload: object = None) -> float:
    """Virtual ns until the module is free again: two requests, of which the second waits for the first's packets."""
    client = instance.client()
    await client.call(topic, payload)
    before = instance.reactor.now
    await client.call(topic, payload)
    await client.call(topic, payload)
    return instance.reactor.now - before


@pytest.mark.parametrize(
    ("way", "packets"), [("sendto", 1), ("send", 1), ("sendmsg", 1), ("stream", 0), ("none", 0)]
)
def test_each_datagram_of_a_modules_own_socket_costs_a_packet(
    way: str, packets: int, receiver: socket.socket, tmp_path: Path
) -> None:
    file = tmp_path / "sender.py"
    file.write_text(MODULE)

    async def main() -> None:
        cost = CostModel(iteration_s=0, message_s=0, packet_s=0.01)
        async with open_instance(modules=[], clock="virtual", cost=cost) as instance:
            host, _, port = address(receiver).rpartition(":")
            await instance.load(str(file), host, port)
            # The packet of the first request delays the second; that of the second nobody waits for.
            assert await took(instance, "sender.way", {"way": way}) == packets * 2 * 10_000_000

    run(main, clock="virtual")


def test_the_example_that_emits_by_itself_pays_for_its_packets(receiver: socket.socket) -> None:
    found = {}

    async def main(packet_s: float) -> None:
        cost = CostModel(iteration_s=0, message_s=0, packet_s=packet_s)
        async with open_instance(modules=[], clock="virtual", cost=cost) as instance:
            await instance.load(COUNTERS, address(receiver))
            await instance.client().call("counters.debug", {"op": "setbit", "flags": 0x1000})
            found[packet_s] = await took(instance, "counters.hello")

    for packet_s in (0.0, 0.01):
        run(main, packet_s, clock="virtual")
    assert found[0.0] == 0 and found[0.01] >= 10_000_000


def test_a_file_that_emits_itself_beside_the_built_in_hook_is_told_once_in_the_log(
    receiver: socket.socket,
) -> None:
    async def lines(stats: MemorySink | None) -> list[str]:
        async with open_instance(modules=[], clock="virtual", stats=stats) as instance:
            await instance.load(COUNTERS, address(receiver))
            client = instance.client()
            await client.call("counters.debug", {"op": "setbit", "flags": 0x1000})
            for _ in range(3):
                await client.call("counters.hello")
            return [line for line in instance.broker(0).log.lines() if "packets of its own" in line]

    async def main() -> None:
        (line,) = await lines(MemorySink())
        assert "counters" in line and "0x1000" in line and "told twice" in line
        # Nothing is told twice where the built-in hook sends to nobody.
        assert await lines(None) == []

    run(main, clock="virtual")
