"""Durations are read to the nearest float and written so that the same float is read back."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol.duration import format_duration, parse_duration, round_duration

SECONDS = {
    "": Fraction(1),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.5s", 0.5), ("25ms", 0.025), ("2m", 120.0), ("1h", 3600.0), ("1d", 86400.0), ("3", 3.0), ("0", 0.0),
        (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("1e-3s", 0.001), ("1E2ms", 0.1), (" 2s ", 2.0),
        ("infinity", math.inf), ("inf", math.inf), ("0.1ms", 0.0001),
    ],
)  # fmt: skip
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, 10**9), st.integers(0, 6), st.sampled_from(sorted(SECONDS)))
@example(25, 0, "ms")
@example(9, 0, "ms")
def test_what_is_written_is_read_to_the_nearest_float(number: int, places: int, suffix: str) -> None:
    exact = Fraction(number, 10**places)
    text = f"{number / 10**places:.{places}f}{suffix}"
    assert math.isclose(parse_duration(text), float(exact * SECONDS[suffix]), rel_tol=1e-15, abs_tol=0)
    if places == 0:
        assert parse_duration(text) == float(exact * SECONDS[suffix])


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "s", "-1", "-1s", "+1s", "1x", "1S", "1 s", "1s1", "1h30m", "1,5s", "nan", "Infinity", "infs",
        "0x10", "1_0", "٣s", ".", "e3", "1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_what_would_be(text: str) -> None:
    shown = re.escape(repr(text[:60]))
    hint = re.escape("give a number and ms, s, m, h or d (none is seconds): 0.5s, 25ms, 2m")
    with pytest.raises(ValueError, match=f"^not a duration: {shown}…?; {hint}$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1e999", "1e308d"])
def test_a_number_beyond_floats_is_not_taken_for_infinity(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is too long for a float; write infinity"):
        parse_duration(text)


@given(st.floats(0, allow_nan=False))
@example(1 / 3)
@example(5e-324)
@example(1.7976931348623157e308)
@example(math.inf)
def test_every_float_is_written_so_that_it_reads_back_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_durations_are_written_in_the_longest_unit_that_stays_short() -> None:
    examples = {
        0.0: "0s", 1.0: "1s", 0.5: "500ms", 0.025: "25ms", 0.0015: "1.5ms", 60.0: "1m", 90.0: "1.5m",
        100.0: "100s", 3600.0: "1h", 86400.0: "1d", 129600.0: "1.5d", 1e6: "1000000s", 1.25: "1.25s",
    }  # fmt: skip
    assert {seconds: format_duration(seconds) for seconds in examples} == examples


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_what_is_no_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"a duration is 0 or more seconds, not {seconds}"):
        format_duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.0123, "12ms"), (0.1, "0.1s"), (1.0, "1s"), (58.03, "58s"), (59.96, "60s"), (90.0, "1.5m"),
     (3599.0, "60m"), (3600.0, "1h"), (86399.0, "24h"), (270_000.0, "3.1d"), (8_640_000.0, "1e+02d"),
     (math.inf, "infinity")],
)  # fmt: skip
def test_durations_for_a_person_have_two_digits_as_flux_core_has_them(seconds: float, text: str) -> None:
    assert round_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_what_is_no_duration_is_not_rounded(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 or more seconds"):
        round_duration(seconds)
