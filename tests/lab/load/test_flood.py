"""A flood on loopback: whatever the server does, what was sent was received or dropped, and it says so."""

from __future__ import annotations

import pytest

from brokersim.lab.experiments.aggregator import Plan, aggregator
from brokersim.lab.load.flood import SENDERS, Flood, flood


@pytest.mark.parametrize("dialect", ["collectd", "brubeck", "etsy", "strict"])
def test_a_bounded_sender_loses_nothing_and_the_counter_is_in_the_store(dialect: str) -> None:
    found = flood(dialect, "bounded", 1500, 0.05)
    assert (found.offered, found.received, found.dropped, found.shown) == (1500, 1500, 0, 1500)
    assert found.is_accounted
    assert found.graphite


def test_an_unbounded_sender_overruns_a_small_buffer_and_every_packet_is_accounted_for() -> None:
    found = flood("brubeck", "unbounded", 3000, 0.05)
    assert found.dropped is not None
    assert found.offered == 3000 == found.received + found.dropped
    assert found.shown == found.received
    assert found.buffer <= 2 * SENDERS["unbounded"]


def test_a_packet_that_is_neither_received_nor_dropped_is_noticed() -> None:
    lost = Flood(dialect="strict", sender="bounded", offered=10, received=8, dropped=1, shown=8, graphite=("x",),
                 buffer=1, wall_s=1.0, rates=())  # fmt: skip
    assert not lost.is_accounted


def test_the_experiment_agrees_with_the_journal_but_for_drops_a_short_flood_need_not_have() -> None:
    found = aggregator(Plan(lines=600, dialects=("brubeck",), sends=5))
    assert set(found.failed()) <= {"J1 b"}
    assert [row["sender"] for row in found.runs] == list(SENDERS)
