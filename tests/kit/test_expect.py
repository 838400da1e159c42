"""Counts that are expected otherwise than exactly, and how far one is off."""

from __future__ import annotations

import pytest

from brokersim.kit.expect import Range, approx, at_least, at_most, between, difference


@pytest.mark.parametrize(
    ("expected", "within", "beyond"),
    [(at_most(3), [0, 3], [3.1, 4]), (at_least(3), [3, 9], [2, 2.9]), (between(2, 4), [2, 3, 4], [1, 5]),
     (approx(100, percent=5), [95, 105], [94.9, 105.1]), (approx(100, abs=2), [98, 102], [97.9, 102.1]),
     (approx(100, abs=0), [100], [99, 101]), (approx(10, percent=0), [10], [9.9, 10.1])],
)  # fmt: skip
def test_a_range_is_equal_to_its_ends_and_what_lies_between(
    expected: Range, within: list[float], beyond: list[float]
) -> None:
    assert all(value == expected for value in within)
    assert not any(value == expected for value in beyond)
    assert expected != "3" and expected is not None and not expected == None  # noqa: E711, SIM201


def test_a_range_of_nothing_and_a_slack_that_is_none_or_two_are_refused() -> None:
    with pytest.raises(ValueError, match=r"between\(3, 2\) is no range"):
        between(3, 2)
    assert repr(between(2, 2)) == "between(2, 2)"
    for options in ({}, {"percent": 1.0, "abs": 1.0}, {"percent": -1.0}, {"abs": -1.0}):
        with pytest.raises(ValueError, match="neither below 0"):
            approx(5, **options)
    assert (repr(approx(5, percent=1.5)), repr(approx(5, abs=2))) == (
        "approx(5, percent=1.5)", "approx(5, abs=2)",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("got", "expected", "off"),
    [(7, at_most(3), 4), (3, at_most(3), 0), (1, at_least(3), -2), (3, at_least(3), 0), (1, between(2, 4), -1),
     (5, between(2, 4), 1), (4, between(2, 4), 0), (5, 3, 2), (5, pytest.approx(4.0), 1), (5, "three", None)],
)  # fmt: skip
def test_how_far_a_count_is_off_is_told_from_the_nearest_that_is_right(
    got: float, expected: object, off: float | None
) -> None:
    assert difference(got, expected) == off
