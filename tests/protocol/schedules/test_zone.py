"""The instants of wall-clock times where the clock is changed: the gap of spring, the hour that comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from brokersim.protocol.schedules.zone import instant

BERLIN = ZoneInfo("Europe/Berlin")
#: 2026-03-29: at 02:00 it was 03:00.
SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)


@pytest.mark.parametrize("after", [0, 0.000001, 0.7, 0.999999, 1, 1.5, 1800, 3599, 3599.999999])
def test_each_time_that_is_skipped_is_the_end_of_the_gap_to_the_second(after):
    wall = datetime(2026, 3, 29, 2, tzinfo=BERLIN) + timedelta(seconds=after)
    assert instant(wall) == SPRING.timestamp()


@pytest.mark.parametrize("seconds", [-1, -0.5, 0, 0.5, 1])
def test_times_around_the_gap_are_themselves(seconds):
    at = SPRING + timedelta(seconds=seconds)
    assert instant(at.astimezone(BERLIN)) == at.timestamp()


def test_a_gap_of_half_an_hour_has_its_own_end():
    wall = datetime(2026, 10, 4, 2, 10, tzinfo=ZoneInfo("Australia/Lord_Howe"))  # 02:00 +10:30 was 02:30 +11
    assert instant(wall) == datetime(2026, 10, 3, 15, 30, tzinfo=UTC).timestamp()


def test_of_a_time_that_comes_twice_the_first_is_meant():
    wall = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    assert instant(wall) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
