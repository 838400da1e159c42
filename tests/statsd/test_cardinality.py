"""Who makes the series: keys by the beginning of their name, and by who sent them first."""

from __future__ import annotations

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.cardinality import Cardinality


def test_prefixes_and_senders_by_how_many_keys_they_have():
    aggregator = Aggregator()
    for number in range(30):
        aggregator.feed(
            b"shop.user_%d.clicks:1|c\nshop.orders.n%d:1|g" % (number, number), f"10.0.0.1:{number}"
        )
    aggregator.feed(b"flux.kvs.0.rx:1|g\nflux.kvs.0.tx:1|g\nplain;a.b=c.d:1|c", "[::1]:9")
    aggregator.feed(b"flux.kvs.0.rx:2|g\nunknown:1|c", "10.0.0.9:1")
    aggregator.feed(b"of.nobody:1|c")
    found = aggregator.cardinality()
    assert found.prefixes[:4] == (("shop", 60), ("shop.orders", 30), ("flux", 2), ("flux.kvs", 2))
    assert len(found.prefixes) == 10
    assert found.senders == (("10.0.0.1", 60), ("[::1]", 3), ("10.0.0.9", 1))
    assert Aggregator().cardinality() == Cardinality(prefixes=(), senders=())
