"""Calendar entries of flux-core's form, against a search second by second with nothing but strftime."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from modules.cron.fields import UNITS, to_fields
from tests.effort import examples

START = 1_767_225_600  # 2026-01-01T00:00:00Z, a Thursday


def brute(args, now, limit):
    """The next second all units agree on, or None within ``limit`` seconds. ``args`` are numbers only."""
    keys = {"second": 5, "minute": 4, "hour": 3, "mday": 2, "month": 1, "year": 0}
    for second in range(now + 1, now + limit):
        tm = time.gmtime(second)
        here = {unit: tm[at] for unit, at in keys.items()}
        here["month"] -= 1
        here["year"] -= 1900
        here["weekday"] = (tm.tm_wday + 1) % 7
        if all(here[unit] == value for unit, value in args.items()):
            return float(second)
    return None


@settings(max_examples=examples(12))  # each looks at a day of seconds
@given(
    st.fixed_dictionaries(
        {}, optional={unit: st.integers(*UNITS[unit]) for unit in ("second", "minute", "hour")}
    ),
    st.integers(0, 86400),
)
def test_the_next_moment_is_the_first_that_agrees(args, offset):
    now = START + offset
    found = to_fields(args).following(now + 0.5, is_utc=True)
    expected = brute(args, now, 90_000) if args.get("second") != 60 else None
    assert found == expected


@given(st.integers(0, 6), st.integers(1, 28), st.integers(0, 11))
def test_days_are_picked_by_weekday_day_and_month(weekday, mday, month):
    midnight = {"second": 0, "minute": 0, "hour": 0}
    found = to_fields({**midnight, "weekday": weekday}).following(START, is_utc=True)
    assert found is not None and (time.gmtime(found).tm_wday + 1) % 7 == weekday
    assert 0 < found - START <= 7 * 86400
    found = to_fields({**midnight, "mday": mday, "month": month}).following(START, is_utc=True)
    assert found is not None
    assert (time.gmtime(found).tm_mday, time.gmtime(found).tm_mon) == (mday, month + 1)


def test_ranges_steps_lists_and_names_are_understood():
    fields = to_fields(
        {"second": 0, "minute": "*/20", "hour": "9-17", "weekday": "Mon-Fri", "month": "jan,Dec"}
    )
    assert fields.to_dict() == {
        "second": "0", "minute": "0,20,40", "hour": "9-17", "mday": "1-31", "month": "0,11", "year": "0-1100",
        "weekday": "1-5",
    }  # fmt: skip


def test_a_day_that_never_comes_is_none():
    assert to_fields({"mday": 30, "month": "February"}).following(START, is_utc=True) is None
    assert to_fields({"year": 100}).following(START, is_utc=True) is None
