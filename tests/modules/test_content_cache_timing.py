"""Durations of loads and stores: a slot for each entry against the journal's one slot for all."""

from __future__ import annotations

import statistics

import hypothesis.strategies as st
from hypothesis import given

from modules.content_cache.timing import BUCKETS, AuxTiming, Latency, Timing


def run_timings(kind: type[Timing], moves: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Begins or ends the operation of an entry at each move, after a pause; (entry, ms) in order of ending."""
    now = 0.0
    emitted: list[float] = []
    timing = kind(lambda: now, emitted.append)
    starts: dict[int, float] = {}
    ended: list[int] = []
    for which, pause in moves:
        now += pause
        if which in starts:
            timing.end(starts.pop(which))
            ended.append(which)
        else:
            starts[which] = timing.begin()
    return list(zip(ended, emitted, strict=True))


def true_durations(moves: list[tuple[int, float]]) -> list[tuple[int, float]]:
    now, started, ended = 0.0, {}, []
    for which, pause in moves:
        now += pause
        if which in started:
            ended.append((which, (now - started.pop(which)) * 1e3))
        else:
            started[which] = now
    return ended


MOVES = st.lists(st.tuples(st.integers(0, 5), st.floats(0.001, 5)), max_size=30)


@given(MOVES)
def test_a_start_kept_in_the_entry_gives_the_true_duration_whatever_else_is_under_way(moves):
    assert run_timings(Timing, moves) == true_durations(moves)


@given(MOVES)
def test_one_shared_slot_never_gives_too_much_and_is_right_only_for_the_latest_start(moves):
    entry, aux = run_timings(Timing, moves), run_timings(AuxTiming, moves)

    for (which, true), (same, shared) in zip(entry, aux, strict=True):
        assert which == same
        assert shared <= true
    now, latest, started = 0.0, 0.0, {}
    expected = []
    for which, pause in moves:
        now += pause
        if which in started:
            expected.append((now - latest) * 1e3)
            del started[which]
        else:
            started[which] = latest = now
    assert [ms for _which, ms in aux] == expected


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=300))
def test_summary_is_close_to_the_samples_in_bounded_memory(samples):
    latency = Latency()
    for ms in samples:
        latency.add(ms)
    shown = latency.statistics()
    ordered = sorted(samples)

    assert shown["count"] == len(samples)
    assert abs(shown["mean"] - statistics.fmean(samples)) <= 1e-9 * max(samples)
    assert shown["max"] == max(samples)
    close = 2 ** (1 / BUCKETS)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        exact = ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]
        assert exact / close <= shown[name] <= exact * close


def test_summary_of_nothing_and_of_nothing_but_zeros_is_zero():
    latency = Latency()
    assert latency.statistics() == {"count": 0, "mean": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    for _ in range(3):
        latency.add(0.0)

    assert latency.statistics() == {"count": 3, "mean": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0}


def test_durations_that_wait_to_be_summed_up_are_few_and_a_look_changes_nothing():
    often, once = Latency(), Latency()
    for number in range(10_000):
        often.add(number % 7 / 4)
        once.add(number % 7 / 4)
        assert len(once._fresh) < 128
        if not number % 100:
            often.statistics()
    assert often.statistics() == once.statistics() == once.statistics()


def test_the_most_operations_under_way_at_once_are_counted():
    timing = Timing(lambda: 0.0, lambda _ms: None)
    starts = [timing.begin() for _ in range(3)]
    for start in starts:
        timing.end(start)
    timing.end(timing.begin())

    assert timing.statistics()["in-flight-max"] == 3
    assert timing.in_flight == 0
