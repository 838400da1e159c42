"""The way of a value to the store: the reference vectors come out exactly, whatever the way they are computed."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.measure.pipeline import (
    STYLES,
    Emission,
    Track,
    at_changes,
    at_marks,
    at_ticks,
    calls,
    client_packets,
    flushes,
    lossy,
    stored,
    ticks,
)
from brokersim.lab.measure.series import US, Steps, distance, steps_of

JOBS = 10_000
NAMES = ("sched", "run", "cleanup", "inactive")
FIRST = (JOBS, 0, 0, 0)
LAST_EVENT = 91_219_102
HORIZON = 120 * US


@cache
def journal() -> Track:
    """Pipeline Q: each event of 10,000 jobs is a change of its own."""
    events = []
    for job in range(JOBS):
        run = 1_000_000 * job // 110
        cleanup = run + 100_000 + 2_000 * (37 * job % 101)
        inactive = cleanup + 20_000 + 625 * (53 * job % 97)
        events += [(run, job, 0), (cleanup, job, 1), (inactive, job, 2)]
    row = list(FIRST)
    times, rows = [], []
    for t, _, left in sorted(events):
        row[left] -= 1
        row[left + 1] += 1
        times.append(t)
        rows.append(tuple(row))
    return Track(names=NAMES, first=FIRST, times=times, rows=rows)


def every_event(track: Track) -> list[Emission]:
    return [Emission(t, at, at + 1) for at, t in enumerate(track.times)]


def test_the_truth_of_the_vectors_is_the_journals():
    assert journal().times[-1] == LAST_EVENT
    steps = journal().steps()
    assert max(steps["run"].values) == 24
    assert max(steps["cleanup"].values) == 8


# -- increments


class Outcome:
    """What left the client, and what a server that starts at SCHED = 10,000 shows after each of its flushes."""

    def __init__(self, style: str, period: int) -> None:
        track = journal()
        horizon = 100 * US
        packets = client_packets(
            calls(track, every_event(track), style), style=style, period=period, dialect="etsy", horizon=horizon
        )  # fmt: skip
        self.lines = [line for _, packet in packets for line in packet.decode().splitlines()]
        self.flushes = len({t for t, _ in packets})
        shown = flushes(
            [(0, b"sched:10000|g"), *packets],
            period=period or US,
            dialect="etsy",
            horizon=LAST_EVENT + 1 + (period or US),
        )
        self.end = shown[-1].gauges
        self.values = {name: [flush.gauges.get(name, 0) for flush in shown] for name in NAMES}

    def figures(self, name: str) -> tuple[float, ...]:
        values = self.values[name]
        return (
            self.lines.count(f"{name}:0|g"),
            min(values),
            sum(value < 0 for value in values),
            self.end[name],
        )


@pytest.mark.parametrize(
    ("style", "period", "count", "lines", "run", "cleanup"),
    [
        ("increments", US, 92, 367, (49, -22, 15, -22), (29, -7, 26, -7)),
        ("increments-nonzero", US, 92, 289, (0, 0, 0, 0), (0, 0, 0, 0)),
        ("totals", US, 92, 367, (None, 0, 0, 0), (None, 0, 0, 0)),
        ("increments", US // 10, 913, 3_646, (421, -23, 166, -23), (357, -6, 225, -6)),
    ],
)
def test_vectors_of_increments(
    style: str, period: int, count: int, lines: int, run: tuple[int, ...], cleanup: tuple[int, ...]
):
    outcome = Outcome(style, period)
    assert (outcome.flushes, len(outcome.lines)) == (count, lines)
    for name, wanted in (("run", run), ("cleanup", cleanup)):
        # A total of 0 is a value to set, so its lines are no sign of anything: not counted where the vector has none.
        found = outcome.figures(name)
        assert found[1:] == wanted[1:], name
        assert wanted[0] is None or found[0] == wanted[0], name
    assert (outcome.end["sched"], outcome.end["inactive"]) == (0, JOBS)


def test_sent_at_once_increments_are_a_line_each_and_end_right():
    outcome = Outcome("increments", 0)
    assert len(outcome.lines) == 60_000
    assert all(outcome.figures(name)[:3] == (0, 0, 0) for name in ("run", "cleanup"))
    assert dict(outcome.end) == {"sched": 0, "run": 0, "cleanup": 0, "inactive": JOBS}


# -- absolute gauges

VECTORS = [
    # (timer, period, flush, retention in s), points, SCHED max MAE bias, RUN max MAE bias
    *[((d, 0, 10, 60), 2, (5500, 1629.583, -1538.0), (24, 6.208, -5.166)) for d in (1, 0.1, 0.025)],
    ((0.1, 0, 1, 60), 2, (6490, 2033.908, -2033.0), (24, 5.902, -5.666)),
    *[(stages, 11, (1099, 408.227, 408.227), (23, 2.453, 2.343)) for stages in ((0.1, 0, 10, 10), (1, 1, 10, 1))],
    *[((d, 0, 1, 1), 119, (109, 41.214, 41.214), (11, 0.618, 0.452)) for d in (1, 0.1, 0.025)],
    ((0.1, 1, 1, 1), 119, (109, 41.214, 41.214), (11, 0.618, 0.452)),
    ((0.1, 0, 0.1, 1), 120, (99, 34.5, -33.75), (22, 0.568, 0.393)),
]  # fmt: skip


def stored_points(stages: tuple[float, ...], style: str = "absolute", dialect: str = "strict"):
    timer, period, flush, retention = (round(stage * US) for stage in stages)
    track = journal()
    packets = client_packets(
        calls(track, at_ticks(track, timer, 0, HORIZON), style), style=style, period=period, dialect=dialect,
        horizon=HORIZON,
    )  # fmt: skip
    return stored(flushes(packets, period=flush, dialect=dialect, horizon=HORIZON), retention)


@pytest.mark.parametrize(("stages", "points", "sched", "run"), VECTORS, ids=str)
def test_vectors_of_absolute_gauges(
    stages: tuple[float, ...], points: int, sched: tuple[float, ...], run: tuple[float, ...]
):
    kept = stored_points(stages)
    truth = journal().steps()
    for name, wanted in (("sched", sched), ("run", run)):
        assert len(kept[name]) == points
        found = distance(truth[name], kept[name], HORIZON)
        assert found is not None
        assert (found.max, round(found.mean, 3), round(found.bias, 3)) == wanted, name


@pytest.mark.parametrize("dialect", ["etsy", "brubeck", "collectd"])
def test_every_dialect_stores_the_same_absolute_gauges(dialect: str):
    assert stored_points((1, 0, 10, 60), dialect=dialect) == stored_points((1, 0, 10, 60))


def test_a_plain_composition_of_functions_stores_what_client_and_aggregator_do():
    """The independent model: the value at a tick of a tick of a tick, by arithmetic alone."""
    stages = (1, 1, 10, 1)
    timer, period, flush, retention = (stage * US for stage in stages)
    truth = journal().steps()["run"]
    wanted: dict[int, float] = {}
    for t in range(flush, HORIZON, flush):
        seen = t // period * period // timer * timer
        wanted[t // retention * retention] = truth.at(seen)
    assert dict(stored_points(stages)["run"]) == wanted


# -- the parts


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    moves = draw(
        st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 1), st.integers(-3, 5)), max_size=30)
    )
    row = [0, 0]
    times, rows = [], []
    for t, at, delta in sorted(moves):
        row[at] += delta
        times.append(t * 1000)
        rows.append(tuple(row))
    return Track(names=("a", "b"), first=(0, 0), times=times, rows=rows)


@given(
    track=tracks(),
    style=st.sampled_from([style for style in STYLES if style != "increments"]),
    period=st.sampled_from([0, 70_000, 500_000]),
    timer=st.sampled_from([1_000, 33_000, 400_000]),
    phases=st.tuples(st.integers(0, 999), st.integers(0, 69_999)),
)
def test_without_loss_every_sound_style_ends_at_the_truth(
    track: Track, style: str, period: int, timer: int, phases: tuple[int, int]
):
    horizon = 6 * US
    packets = client_packets(
        calls(track, at_ticks(track, timer, phases[0], horizon), style), style=style, period=period,
        phase=phases[1] if period else 0, horizon=horizon,
    )  # fmt: skip
    end = flushes(packets, period=US, horizon=horizon)[-1].gauges
    assert [end.get(name, 0) for name in track.names] == list(track.row(len(track.rows)))


@given(
    track=tracks(),
    marks=st.lists(st.tuples(st.integers(0, 4_000_000), st.integers(0, 30)), max_size=12),
)
def test_emissions_tell_every_change_once_and_in_order(track: Track, marks: list[tuple[int, int]]):
    emissions = at_marks(sorted((t, min(end, len(track.rows))) for t, end in marks))
    assert all(one.end == two.start for one, two in pairwise(emissions))
    assert all(one.start < one.end for one in emissions)
    if emissions:
        total = dict.fromkeys(track.names, 0)
        for one in emissions:
            for name, delta in track.touched(one.start, one.end).items():
                total[name] += delta
        assert tuple(total.values()) == track.row(emissions[-1].end)


@given(track=tracks(), delay=st.integers(0, 50))
def test_a_spinning_loop_tells_of_every_instant_with_changes(track: Track, delay: int):
    emissions = at_changes(track, delay)
    assert [one.t - delay for one in emissions] == sorted(set(track.times))


def test_a_net_zero_is_touched_and_a_value_that_stayed_is_not():
    track = Track(names=("a", "b"), first=(0, 0), times=[1, 2], rows=[(1, 0), (0, 0)])
    assert track.touched(0, 2) == {"a": 0}


def test_ticks_begin_one_period_in_or_at_their_phase_and_end_before_the_horizon():
    assert list(ticks(10, 0, 40)) == [10, 20, 30]
    assert list(ticks(10, 3, 40)) == [3, 13, 23, 33]


def test_a_slot_keeps_the_last_flush_and_is_labelled_with_its_start_in_its_phase():
    track = Track(names=("a",), first=(0,), times=[5, 15, 25], rows=[(1,), (2,), (3,)])
    packets = client_packets(
        calls(track, at_changes(track), "absolute"), style="absolute", period=0, horizon=40
    )
    shown = flushes(packets, period=10_000, horizon=40_000)
    assert stored(shown, 20_000)["a"] == [(0, 3), (20_000, 3)]
    assert stored(shown, 20_000, phase=7_000)["a"] == [(7_000, 3), (27_000, 3)]


def test_loss_depends_on_the_seed_alone_and_is_about_the_share_wanted():
    packets = [(t, b"a:1|g") for t in range(10_000)]
    kept = lossy(packets, 0.01, "7")
    assert kept == lossy(packets, 0.01, "7") != lossy(packets, 0.01, "8")
    assert 9_850 < len(kept) < 9_950
    assert lossy(packets, 0, "7") == packets


def test_the_journals_client_keeps_one_timing_of_a_period_and_ours_keeps_all():
    given = [(t, "timing", ("load", float(t))) for t in range(1, 6)]
    for style, wanted in (("increments", [5.0]), ("absolute", [1.0, 2.0, 3.0, 4.0, 5.0])):
        packets = client_packets(iter(given), style=style, period=US, horizon=3 * US)
        shown = flushes(packets, period=2 * US, horizon=3 * US)
        assert shown[0].samples == {"load": wanted}


def test_a_step_function_is_checked():
    with pytest.raises(ValueError, match="first at 0"):
        Steps(times=(1,), values=(0,))
    with pytest.raises(ValueError, match="must not fall"):
        steps_of([(3, 1.0), (2, 0.0)])
