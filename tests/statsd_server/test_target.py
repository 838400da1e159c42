"""Where an instance's statistics go: each kind of target, what is told of it, and how it fails."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from brokersim.routing.sink import MemorySink, NullSink
from brokersim.statsd_server.embedded import EmbeddedAggregator
from brokersim.statsd_server.target import TargetError, statistics_target, stats_attributes, stats_environment
from brokersim.statsd_server.udp import UdpSink

SERVER = """
import os, socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((os.environ["STATSD_HOST"], int(os.environ["STATSD_PORT"])))
sock.recv(100)
"""


async def test_the_plain_targets():
    for stats, kind in ((None, NullSink), ("mem:", MemorySink), ("127.0.0.1:9", UdpSink)):
        async with statistics_target(stats) as sink:
            assert isinstance(sink, kind)
            assert stats_attributes(sink) == {}
            told = {"BROKERSIM_STATS": "127.0.0.1:9", "BROKERSIM_STATS_DIALECT": "any"}
            expected = told if kind is UdpSink else {}
            assert stats_environment(sink) == expected


async def test_a_server_inside_is_told_to_commands_and_asked_by_tail():
    async with statistics_target("serve") as sink:
        assert isinstance(sink, EmbeddedAggregator)
        host, port = sink.server.udp_address or ("", 0)
        told = {"BROKERSIM_STATS": f"{host}:{port}", "BROKERSIM_STATS_DIALECT": "strict"}
        assert stats_environment(sink) == told
        assert stats_attributes(sink) == {"stats.http": sink.server.http_address}
    async with statistics_target("serve", clock="virtual") as sink:
        assert (stats_environment(sink), stats_attributes(sink)) == ({}, {})


async def test_a_server_beside_gets_the_packets():
    command = shlex.join([sys.executable, "-c", SERVER])
    for stats, dialect in ((None, "any"), ("dialect=brubeck", "brubeck")):
        async with statistics_target(stats, aggregator=command) as sink:
            assert isinstance(sink, UdpSink)
            assert sink.send(b"k:1|c")
            told = {"BROKERSIM_STATS": sink.target, "BROKERSIM_STATS_DIALECT": dialect}
            assert stats_environment(sink) == told


async def test_a_server_elsewhere_is_written_for_as_it_is_named():
    async with statistics_target("127.0.0.1:9,dialect=brubeck") as sink:
        assert (sink.target, sink.dialect) == ("127.0.0.1:9", "brubeck")
    async with statistics_target("serve:dialect=etsy,names=journal") as sink:
        assert sink.dialect == "etsy"


@pytest.mark.parametrize(
    ("stats", "aggregator", "told"),
    [
        ("serve", "x", "name two targets"),
        ("mem:", "x", "name two targets"),
        (None, "/nowhere/x", "cannot run '/nowhere/x'"),
        ("nowhere", "x", "not a statsd target"),
        ("serve:x=1", None, "is none of"),
        ("nowhere", None, "not a statsd target"),
        ("dialect=brubeck", None, "name no address; give HOST:PORT,dialect=brubeck"),
        ("serve:db=/nowhere/run.db", None, "/nowhere/run.db"),
    ],
)
async def test_what_cannot_be_is_one_error_that_says_why(stats, aggregator, told):
    with pytest.raises(TargetError, match=told):
        async with statistics_target(stats, aggregator=aggregator):
            raise AssertionError("it must not be used")


async def test_an_error_in_the_block_comes_out_as_it_is():
    for stats in (None, "serve"):
        for kind in (LookupError, ValueError):
            with pytest.raises(kind) as caught:
                async with statistics_target(stats):
                    raise kind
            assert not isinstance(caught.value, TargetError)


def test_an_instance_without_statistics_loads_no_server() -> None:
    # Rather than a time: they would be a quarter of what `start` imports.
    code = (
        "import sys\nfrom brokersim.cli.main import main\n"
        "assert main(['start', '--modules', 'heartbeat', 'true']) == 0\n"
        "print([name for name in {!r} if name in sys.modules])"
    ).format(
        (
            "h11",
            "brokersim.statsd.dialects",
            "brokersim.statsd_server.server",
            "brokersim.statsd_server.settings",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
