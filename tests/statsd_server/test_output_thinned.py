"""A retention in front of the outputs: stores are thinned, others see every flush."""

from __future__ import annotations

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.slots import Slots, parse_retention
from brokersim.statsd_server.outputs import thinned
from brokersim.statsd_server.outputs.console import Console
from brokersim.statsd_server.outputs.graphite import Graphite
from brokersim.statsd_server.outputs.line_texts import LineTexts
from brokersim.statsd_server.outputs.thinned import Thinned
from tests.statsd_server.harness import Kept, flush_of


def slots(step_us):
    return Slots(step_us, "strict", AggregatorConfig())


def test_a_slot_goes_out_when_the_next_begins_and_the_last_at_the_close():
    kept = Kept()
    output = Thinned(kept, slots(10_000_000))
    for t in range(8, 24):
        output.offer(flush_of(float(t), packets=[b"k:%d|g" % t]))
    assert kept.times == [0.0, 10.0]
    output.close()
    assert [(flush.t, flush.gauges) for flush in kept.flushes] == [
        (0.0, {"k": 9}), (10.0, {"k": 19}), (20.0, {"k": 23}),
    ]  # fmt: skip
    assert kept.is_closed


def test_graphite_gets_a_line_a_slot_at_the_instant_whisper_gives_it_and_never_more_than_one_a_second():
    for retention, lines in (("10s:1d", 3), ("0.1s:1h", 16), ("1.5s:1h", 8)):
        graphite = Graphite("127.0.0.1", 2003)
        output = thinned(graphite, parse_retention(retention), slots)
        block = 0
        for t in range(160):
            flush = flush_of(round(8 + t / 10, 6), packets=[b"k:%d|g" % t])
            block = LineTexts().block(flush).lines
            output.offer(flush)
        output.close()
        assert output.statistics().queued == lines * block, retention


def test_what_is_no_store_sees_every_flush():
    console, kept = Console(), Kept()
    for output in (console, kept):
        assert thinned(output, parse_retention("10s:1d"), slots) is output
    graphite = Graphite("127.0.0.1", 2003)
    assert thinned(graphite, (), slots) is graphite
