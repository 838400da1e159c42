"""The client in a program without a broker: the example, and the code of its page, against a server."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

from brokersim.statsd import Aggregator
from tests.statsd_server.harness import Kept, serving, until

ROOT = Path(__file__).resolve().parents[2]


async def test_the_example_sends_what_it_counts_in_few_packets(autojump_clock):
    example = runpy.run_path(str(ROOT / "examples" / "stats_client.py"))
    kept = Kept()
    async with serving(kept) as server:
        await example["main"]("{}:{}".format(*server.udp_address), rounds=30)
        await until(lambda: "shop.orders" in server.aggregator.table("counters"))
        flush = server.flush_now()
    assert flush.counters["shop.orders"] == 30
    assert flush.gauges["shop.queue"] == 29 % 7 - 3
    assert flush.timer_counts["shop.checkout"] == 30
    assert flush.packets <= 4, "1.5 s in periods of a second, and the end"


def test_the_code_of_the_page_sends_the_packet_it_names(monkeypatch):
    page = (ROOT / "docs" / "statsd-client.md").read_text(encoding="utf-8")
    code = next(each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "UdpSink" in each)
    sent: list[bytes] = []
    monkeypatch.setattr(
        "brokersim.statsd_server.udp.UdpSink.send", lambda self, packet: sent.append(packet) is None
    )
    exec(code, {})
    assert sent == [b"shop.orders:1|c\nshop.queue:0|g\nshop.queue:-3|g"]
    aggregator = Aggregator()
    aggregator.feed(sent[0])
    assert aggregator.flush(1.0).gauges == {"shop.queue": -3}


def test_the_client_needs_neither_trio_nor_the_broker():
    code = (
        "import sys, brokersim.statsd, brokersim.statsd_server.udp\n"
        "print({'trio', 'brokersim.routing', 'brokersim.host'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
