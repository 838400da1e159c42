"""What functions say is a tick, and the largest moment there is."""

from __future__ import annotations

import math
import sys

import pytest

from brokersim.protocol.schedules.base import moment
from brokersim.protocol.schedules.named import PAST_MAX, Said


def said(ticks, now=0.0):
    return [at for at, _ in Said("x:f", ticks, now)]


@pytest.mark.parametrize("tick", [math.nan, math.inf, True, "noon", None, 0.5])
def test_what_is_no_finite_number_or_falls_is_no_tick(tick):
    with pytest.raises(ValueError, match="ticks are numbers that never fall"):
        said([1.0, tick])
    assert said([1, 1, 2.5]) == [1.0, 1.0, 2.5]


def test_too_many_ticks_in_a_row_that_have_passed_end_it_and_as_many_that_are_one():
    passed = [float(n) for n in range(PAST_MAX + 1)]
    together = [5.0] * (PAST_MAX + 2)
    for ticks, now in ((passed, 1e6), (together, 0.0)):
        assert said(ticks[:-1], now) == ticks[:-1]
        with pytest.raises(ValueError, match="ticks in a row"):
            said(ticks, now)
    assert len(said([*passed[:-1], 2e6, *[2e6] * PAST_MAX], 1e6)) == 2 * PAST_MAX + 1


def test_the_largest_number_is_a_moment_and_infinity_is_none():
    assert moment(sys.float_info.max, "t") == sys.float_info.max
    with pytest.raises(ValueError, match="t"):
        moment(math.inf, "t")
