"""What a server holds beyond an interval comes back from bytes, in every kind of tables."""

from __future__ import annotations

import pytest

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.held import Held
from brokersim.statsd.keyed import BEST, PYTHON

LINES = b"g:7|g\nfrac:-1.5|g\nbig:%d|g\nhits:3|c\nbig:%d|c\ngone:1|g" % (10**40, -(10**30))


@pytest.mark.parametrize("keyed", [pytest.param(BEST, id="best"), pytest.param(PYTHON, id="python")])
@pytest.mark.parametrize("gauge_ttl", [0, 1])
def test_gauges_and_totals_come_back_and_what_is_too_large_for_the_bytes_as_a_float(keyed, gauge_ttl):
    before = Aggregator("strict", AggregatorConfig(gauge_ttl=gauge_ttl), keyed=keyed)
    before.feed(LINES.replace(b"frac:-1.5|g", b"frac:0|g\nfrac:-1.5|g"))
    before.flush(1.0)
    before.disable("gone")
    held = Held.from_bytes(before.held().to_bytes())
    assert held is not None
    assert held.gauges == {b"g": 7, b"frac": -1.5, b"big": 1e40, b"gone": 1}
    assert held.totals == {b"hits": 3, b"big": -1e30}
    assert type(held.gauges[b"g"]) is int
    later = Aggregator("strict", keyed=keyed)
    assert later.take_up(held) == 6
    flush = later.flush(2.0)
    assert {key.encode(): value for key, value in flush.gauges.items()} == held.gauges
    assert dict(flush.totals) == {"hits": 3, "big": -1e30} == {k.decode(): v for k, v in held.totals.items()}


def test_bytes_of_others_are_nothing():
    assert Held.from_bytes(b"\x93abc") is None


def test_what_another_dialect_held_is_not_taken_up():
    before = Aggregator("strict")
    before.feed(b"g:7|g\nhits:3|c")
    later = Aggregator("brubeck")
    assert later.take_up(before.held()) == 0
    assert dict(later.flush(1.0).gauges) == {}
