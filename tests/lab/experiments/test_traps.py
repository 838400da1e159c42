"""The traps of a stream, each beside its cure: figures that are known beforehand."""

from __future__ import annotations

import pytest

from brokersim.lab.experiments.traps import FLUSH, JOBS, MODULES, Trap, creates, longest_packet, signed, traps


def test_fifty_new_series_a_minute_are_six_modules_and_two_counters_of_the_next() -> None:
    found = creates(50.0)
    assert found.partial(FLUSH) == {"kvs-watch": 2}
    first = {module: dict(points)[FLUSH] for module, points in found.series.items()}
    assert list(first.values()) == [8, 8, 8, 8, 8, 8, 2, 0, 0]
    assert sum(first.values()) == 50


def test_five_of_eight_reach_the_store_where_the_limit_leaves_five() -> None:
    assert creates(53.0).partial(FLUSH) == {"kvs-watch": 5}


def test_what_was_held_back_comes_a_token_at_a_time_and_without_a_limit_at_once() -> None:
    # 22 series are missing, a token comes every 1.2 s: 8 a flush.
    assert creates(50.0).complete_at() == 40.0
    assert creates(None).complete_at() == FLUSH
    assert creates(1.0).complete_at() is None


@pytest.mark.parametrize("dialect", ["etsy", "brubeck", "collectd"])
def test_a_signed_gauge_sent_370_times_is_at_minus_3_7_million_and_cured_at_minus_10_000(
    dialect: str,
) -> None:
    assert signed(dialect, cured=False)[-1] == (370.0, -3_700_000)
    assert {value for _, value in signed(dialect, cured=True)} == {-JOBS}


@pytest.mark.parametrize("trap", traps(), ids=lambda trap: trap.name)
def test_the_lint_finds_each_trap_and_nothing_in_its_cure(trap: Trap) -> None:
    assert set(trap.codes) <= set(trap.found())
    assert trap.found(cured=True) == ()


def test_the_longest_packet_of_a_module_fits_into_1440_bytes() -> None:
    assert 300 < longest_packet() <= 1440
    assert len(MODULES) * 8 == 72
