"""A series on its own: what a counter is sent as, what a deadband keeps, and what another life knows of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modules.probe.contract import COUNTER, GAUGE, STATE, Field, Reading
from modules.probe.counter import RESET, ROSE, WRAPPED, Step, step
from modules.probe.sending.reporting import Reporting
from modules.probe.sending.series import Series, counted, from_stored, has_moved, sendable, to_series


def series(kind: str = COUNTER, **more: Any) -> Series:
    field = Field(kind=kind, **more)
    return Series(mid="m", measurement="x", subject="node/0", metric="n", field=field, name="x.n")


def read(ts: float | None = None, identity: str = "") -> Reading:
    return Reading(subject="node/0", metrics={"n": 0}, ts=ts, identity=identity)


@pytest.mark.parametrize(
    ("old", "new", "more", "found"),
    [
        (5, 5, {}, Step(ROSE, 0)),
        (5, 7, {"same": False}, Step(RESET, None)),
        (255, 126, {"width": 8}, Step(WRAPPED, 127)),
        (255, 127, {"width": 8}, Step(RESET, None)),
        (250, 4, {"width": 8, "most": 10}, Step(WRAPPED, 10)),
        (250, 4, {"width": 8, "most": 9.9}, Step(RESET, None)),
    ],
)
def test_a_fall_is_a_wrap_if_it_is_less_than_half_the_range_and_no_more_than_can_be(old, new, more, found):
    assert step(old, new, **more) == found


@pytest.mark.parametrize(
    ("form", "first", "then", "behind_a_fall"),
    [
        ("raw", (10, False), (30, False), (4, True)),
        ("delta", (None, False), (20, False), (None, True)),
        ("rate", (None, False), (5.0, False), (None, True)),
    ],
)
def test_a_counter_is_sent_raw_or_as_what_it_grew_by_or_that_a_second(form, first, then, behind_a_fall):
    one = series(max_rate=100.0)
    assert counted(one, read(), 10, 2.0, form) == first
    assert counted(one, read(), 30, 6.0, form) == then
    assert counted(one, read(), 4, 8.0, form) == behind_a_fall


def test_a_reading_may_have_a_time_of_its_own_and_without_time_between_two_there_is_no_rate():
    one = series(width=8, max_rate=1.0)
    assert counted(one, read(ts=100.0), 250, 2.0, "rate") == (None, False)
    assert counted(one, read(ts=104.0), 254, 3.0, "rate") == (1.0, False)
    assert counted(one, read(ts=104.0), 255, 9.0, "rate") == (None, False)
    # What may have been an age bounds nothing: a wrap. In 4 s it cannot have grown by 5.
    assert counted(one, read(ts=103.0), 4, 9.5, "delta") == (5, False)
    counted(one, read(ts=110.0), 255, 9.6, "delta")
    assert counted(one, read(ts=114.0), 4, 9.7, "delta") == (None, True)
    counted(one, read(ts=114.0), 255, 9.75, "delta")
    assert counted(one, read(ts=114.0), 3, 9.76, "delta") == (4, False)
    counted(one, read(ts=120.0), 255, 9.8, "delta")
    assert counted(one, read(ts=125.0), 4, 9.9, "delta") == (5, False)


def test_what_somebody_else_has_counted_is_no_growth():
    one = series()
    counted(one, read(identity="a"), 10, 1.0, "delta")
    assert counted(one, read(identity="b"), 30, 2.0, "delta") == (None, True)
    assert counted(one, read(identity="b"), 31, 3.0, "delta") == (1, False)
    assert counted(one, read(identity="c"), 32, 4.0, "raw") == (32, True)


@pytest.mark.parametrize(
    ("last", "value", "more", "is_sent"),
    [
        (None, 1.0, {"on_change": 5.0}, True),
        (1.0, 1.0, {}, True),  # without a deadband
        (10.0, 12.0, {"on_change": 2.0}, False),
        (10.0, 12.1, {"on_change": 2.0}, True),
        (10.0, 7.9, {"on_change": 2.0}, True),
        (-10.0, -12.0, {"on_change": 0.2, "is_relative": True}, False),
        (-10.0, -12.1, {"on_change": 0.2, "is_relative": True}, True),
        (10.0, 10.0, {"on_change": 0.0, "max_age": 5.0}, True),  # as old as it may be
        (10.0, 10.0, {"on_change": 0.0, "max_age": 5.1}, False),
        ("up", "up", {"on_change": 0.0}, False),
        ("up", "down", {"on_change": 9.0}, True),
        ("up", 3.0, {"on_change": 9.0}, True),
        (3.0, "up", {"on_change": 9.0}, True),
    ],
)
def test_a_value_is_sent_that_is_beyond_the_deadband_or_another_word_or_behind_one_too_old(
    last, value, more, is_sent
):
    one = series(STATE if isinstance(value, str) else GAUGE)
    one.sent, one.sent_at = last, 100.0
    assert has_moved(one, value, 105.0, Reporting(**more)) is is_sent
    assert sendable(one, read(), value, 105.0, Reporting(**more)) == (value if is_sent else None, False)
    moved = is_sent and more.get("on_change") is not None
    assert (one.sent, one.sent_at) == ((value, 105.0) if moved else (last, 100.0))


def test_of_a_counter_what_it_is_sent_as_is_held_against_the_deadband():
    one, reporting = series(max_rate=1e9), Reporting(on_change=5.0, counters="delta")
    assert [sendable(one, read(), value, at, reporting)[0] for at, value in enumerate((100, 110, 118, 140))] == [
        None, 10, None, 22
    ]  # fmt: skip
    assert sendable(one, read(), 3, 9.0, reporting) == (None, True)
    assert sendable(one, read(), "gone", 9.0, reporting) == ("gone", False)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("node/0", "x.n"),
        ("node/0/disk/sda", "x.disk.sda.n"),
        ("node/01", "x.node.01.n"),
        ("job/7", "x.job.7.n"),
    ],
)
def test_a_series_is_called_by_its_measurement_and_what_its_subject_is_beside_here(subject, name):
    found = to_series("x", Reading(subject=subject, metrics={"n": 1}), "n", None, "node/0", "raw")
    assert (found.name, found.kind, found.attributes) == (name, GAUGE, {"measurement": "x"})
    assert (
        to_series("x", Reading(subject=subject, metrics={"n": "up"}), "n", None, "node/0", "raw").kind
        == STATE
    )


def test_what_is_told_of_a_series_says_its_form_if_it_is_not_raw_and_is_enough_for_another_life():
    field = Field(kind=COUNTER, unit="By", otel="disk.io", event_type="old", width=32)
    one = to_series("x", Reading(subject="node/0", metrics={"n": 1}), "n", field, "node/0", "raw")
    assert "form" not in one.describe() and one.describe()["eventType"] == "old" and one.attributes == {}
    rate = to_series("x", Reading(subject="node/0", metrics={"n": 1}), "n", field, "node/0", "rate")
    assert rate.describe() == {**one.describe(), "form": "rate"} and rate.full == "x: node/0 disk.io"
    again = from_stored(rate.to_stored())
    assert again.to_stored() == rate.to_stored() and again.field.max_rate == math.inf
    plain = to_series("x", Reading(subject="node/0", metrics={"n": 1}), "n", None, "node/0", "raw")
    assert "eventType" not in plain.describe()
    other = to_series("x", Reading(subject="node/0", metrics={"m": 1}), "m", None, "node/0", "raw")
    assert len({one.mid, plain.mid, other.mid}) == 3
    # By a conventional name it is one thing, whoever measures it and whatever he calls it.
    same = to_series("y", Reading(subject="node/0", metrics={"m": 1}), "m", field, "node/0", "raw")
    assert same.mid == one.mid
