"""Sums that C keeps do what Python's do, to the last byte of their frames, and give back what they took."""

from __future__ import annotations

import gc
import operator
import sys
import tracemalloc
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.host import observers
from brokersim.native import sums
from brokersim.protocol.message import Message
from modules.metrics.cells import sum_cells
from modules.metrics.merge import OWN, Merge
from modules.metrics.wire import FRAME_MAX
from tests.effort import examples
from tests.modules.metrics.rig import stat, table

pytestmark = pytest.mark.skipif(not sums.is_compiled, reason="not compiled here, or BROKERSIM_PURE is set")
BOUND = 2**62
KEYS = st.one_of(st.sampled_from("abcdefgh"), st.text(st.characters(codec="utf-8"), max_size=5))
NUMBERS = st.one_of(
    st.integers(-9, 9), st.integers(-BOUND + 1, BOUND - 1), st.sampled_from([BOUND - 1, 1 - BOUND, 0])
)
TIMES = st.integers(-5, 2 * 10**18)


def row(key: str, n: int, begin: int, end: int, total: object) -> list[object]:
    return [key, [[n, begin, end, [total]]]]


TABLES = st.dictionaries(KEYS, st.tuples(st.integers(0, 2**40), TIMES, TIMES, NUMBERS), max_size=12).map(
    lambda found: [row(key, *found[key]) for key in sorted(found)]
)


def kept(rows: list[list[object]]) -> sums.Sums:
    found = sums.Sums.read(rows)
    assert found is not None
    return found


@settings(max_examples=examples(50))
@given(rows=TABLES, start=st.integers(-15, 15), stop=st.integers(-15, 15))
def test_rows_are_a_sequence_of_the_rows_they_were_read_from(rows, start, stop):
    found = kept(rows)
    part, expected = found[start:stop], rows[start:stop]
    assert isinstance(found, Sequence)
    assert (found, part, list(part), len(part)) == (rows, expected, expected, len(expected))
    assert part.keys == [one[0] for one in expected]
    assert part.observed == sum(one[1][0][0] for one in expected)
    assert (found[:start] + part, part + found) == (rows[:start] + expected, expected + rows)
    assert found == found[:start] + found[start:]
    assert repr(part) == repr(expected)
    if rows:
        assert (found[-1], found[0]) == (rows[-1], rows[0])
    for wrong in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            found[wrong]


@given(parts=st.lists(TABLES, max_size=5))
@settings(max_examples=examples(80))
@example(parts=[[row("a", 1, 5, 6, BOUND - 1)], [row("a", 1, 2, 9, 1)]])
@example(parts=[[row("a", 1, 5, 6, BOUND - 1)], [row("a", 1, 2, 9, 1)], [row("a", 1, 2, 9, -7)]])
@example(parts=[[row(key, 1, 0, 0, 1) for key in keys] for keys in ("abc", "abcd", "ab", "xyz")])
@example(parts=[[row("a", 1, 0, 0, value)] for value in (-BOUND + 1, -BOUND + 1, BOUND - 1, BOUND - 2)])
@example(parts=[[row("a", 2**62, 0, 0, 1)], [row("a", 2**62, 0, 0, 1)]])
def test_rows_of_equal_keys_become_what_python_makes_of_them(parts):
    one = stat()
    by_key: dict[str, list[list[object]]] = {}
    for each in (each for part in parts for each in part):
        by_key.setdefault(each[0], []).append(each)
    expected = [one.merge_all(by_key[key]) for key in sorted(by_key)]
    found = sums.Sums.merged([kept(part) for part in parts])
    if found is None:
        # A sum in between may be too large, too, whatever the order; there Python goes on.
        sizes = [sum(abs(each[1][0][3][0]) for each in same) for same in by_key.values()]
        assert (
            any(size >= BOUND for size in sizes)
            or sum(each[1][0][0] for part in parts for each in part) >= 2**63
        )
    else:
        assert found == expected


@given(parts=st.lists(TABLES, min_size=1, max_size=4), data=st.data())
@settings(max_examples=examples(40))
def test_a_merge_is_the_same_of_lists_of_what_C_keeps_and_of_both(parts, data):
    def taken(read):
        merge = Merge(stat().merge_all)
        for at in range(1, len(parts)):
            merge.add(at)
        rows = []
        for at, part in enumerate(parts):
            for rest in (part[:cut], part[cut:]):
                given = read(at, rest)
                merge.give(at or OWN, given, given.keys if sums.is_sums(given) else None)
                rows += merge.take(most)
            merge.end(at or OWN)
        while got := merge.take(most):
            rows += got
        assert merge.is_over
        return rows

    cut, most = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 9))
    lists = taken(lambda at, rows: rows)
    assert taken(lambda at, rows: kept(rows)) == lists
    assert taken(lambda at, rows: kept(rows) if at % 2 else rows) == lists


@settings(max_examples=examples(60))
@given(rows=TABLES.filter(bool), most=st.integers(0, 400))
@example(rows=[row('"\\\n\t\x01\x7fé€😀', -1, -(10**18), 10**18, 1 - BOUND)], most=0)
@example(
    rows=[row(f"{n:06}", n, n, n, n) for n in (0, 9, 10, 99, 100, 999, 1000, 9999, 10000, 99999)], most=90
)
def test_bytes_are_those_of_the_rows_as_json(rows, most):
    """As `Collection` counts them: exact where all fit, else one row after the other."""
    size = len(msgspec.json.encode(rows))
    if size <= most:
        expected = len(rows), size
    else:
        count, size = 0, 2
        for one in rows:
            more = len(msgspec.json.encode(one)) + 1
            if count and size + more > most:
                break
            count, size = count + 1, size + more
        expected = count, size
    assert kept(rows).fit(most) == expected


def test_a_payload_goes_over_a_wire_as_lists():
    rows = [row('"a"', 1, 2, 3, 4), row('"b"', 5, 6, 7, -8)]
    assert msgspec.json.decode(Message(3, "t", {"rows": kept(rows)}).raw.rstrip(b"\0")) == {"rows": rows}


@pytest.mark.parametrize(
    "rows",
    [
        (), None, [None], [[]], [["a"]], [[1, [[1, 2, 3, [4]]]]], [["a", []]], [["a", [None]]],
        [["a", [[1, 2, 3, [4]], [1, 2, 3, [4]]]]], [["a", [[1, 2, 3, [4.0]]]]], [["a", [[1, 2, 3, [True]]]]],
        [["a", [[1, 2, 3, []]]]], [["a", [[1, 2, 3, [4], 5]]]], [["a", [[1.0, 2, 3, [4]]]]], [["a", [[1, 2, 3, 4]]]],
        [["a", [[1, 2, 3, [BOUND]]]]], [["a", [[1, 2, 3, [-BOUND]]]]], [["a", [[2**63, 2, 3, [4]]]]],
        [["a", [[1, 2, 3, [[0.5]]]]]], [row("b", 1, 2, 3, 4), row("a", 1, 2, 3, 4)], [row("a", 1, 2, 3, 4)] * 2,
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_row_of_a_whole_number_or_does_not_ascend_is_left_to_python(rows):
    assert sums.Sums.read(rows) is None


VALUES = st.one_of(
    NUMBERS, st.sampled_from([True, 0.5, "text", BOUND, -BOUND, 10**40, float("nan"), 1e200, None])
)
OBSERVED = st.lists(
    st.tuples(st.one_of(KEYS, st.sampled_from([{"b": 1, "a": 2}, 7, None])), VALUES), max_size=30
)


@given(epochs=st.lists(OBSERVED, max_size=4), most=st.integers(1, 6), data=st.data())
@settings(max_examples=examples(50))
def test_observations_become_the_same_rows_in_C_as_in_python(epochs, most, data):
    def rows(is_compiled: bool):
        sums.is_compiled = is_compiled
        held = table(stat(max_keys=most))
        tap = held.taps[0]
        observe, found = tap.listener(), []
        for observed in epochs:
            for at, (key, value) in enumerate(observed):
                held._clock.reactor.now += at
                observe(key, value)
            found.append((list(held.cut()), tap.refused, tap.overflowed, held.observed, held.size))
        return found

    try:
        assert rows(True) == rows(False)
    finally:
        sums.is_compiled = True


def test_a_sum_beyond_64_bits_is_kept_whole():
    held = table(stat())
    observe = held.taps[0].listener()
    for _ in range(9):
        observe("a", BOUND - 1)
    cell = next(iter(held.taps[0].cells.values()))
    assert (cell.whole, cell.n) == (9 * (BOUND - 1), 9)
    cell.whole -= 8 * (BOUND - 1)
    assert held.cut() == [row('{"str":"a"}', 9, 0, 0, BOUND - 1)]


def test_a_watched_tap_hands_each_observation_to_its_watch():
    held = table(stat())
    seen = []
    held.taps[0].watched_by(lambda text, cell, value: seen.append((text, cell.n, value)))
    observe = held.taps[0].listener()
    observe("a")
    observe("a", 5)
    assert seen == [('{"str":"a"}', 1, 1), ('{"str":"a"}', 2, 5)]


class Handles:
    observe: observers.Observe


def test_observe_takes_what_pythons_takes():
    handle, heard = Handles(), []
    rank = observers.Observers(lambda: [handle])
    end = rank.listen("s", lambda key, value: heard.append((key, value)), None)
    handle.observe("s", "a")
    handle.observe("s", "b", 2)
    handle.observe(stream="s", key="c", value=3)
    handle.observe("s", value=4, key="d")
    handle.observe("other", "e")
    assert heard == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    for observe in (handle.observe, observers.unobserved):
        for wrong in ((), ("s",), ("s", "a", 1, 2)):
            with pytest.raises(TypeError, match="observe"):
                observe(*wrong)
        with pytest.raises(TypeError, match="'stream'"):
            observe("s", "a", stream="s")
        with pytest.raises(TypeError, match="'other'"):
            observe("s", other=2)
        with pytest.raises(TypeError):
            observe([], "a") if observe is handle.observe else observe("s")
    end()
    assert handle.observe is observers.unobserved
    assert handle.observe("s", key="f") is None


def test_what_a_tap_raises_is_raised_and_it_may_end_itself():
    handle = Handles()
    rank = observers.Observers(lambda: [handle])

    def tap(key, value):
        end()
        raise ZeroDivisionError

    end = rank.listen("s", tap, None)
    with pytest.raises(ZeroDivisionError):
        handle.observe("s", "a")
    assert handle.observe("s", "a") is None


@pytest.mark.parametrize("call", [
    lambda: sums.Sums(),
    lambda: sums.Sums.merged([[]]),
    lambda: sums.Sums.merged(()),
    lambda: sums.Sums.of(("a",), {}, 0),
    lambda: sums.Sums.of(["a"], {}, 1.5),
    lambda: kept([]).fit("x"),
    lambda: operator.add(kept([]), []),
    lambda: kept([])["x"],
    lambda: hash(kept([])),
    lambda: sums.Taps(()),
    lambda: sums.Taps({}, found={}),
    lambda: sums.Cell(),
    lambda: setattr(sums.Cell(1), "whole", 1.5),
    lambda: sums.Counter(None, {}, {}, {}, print, dict, 1),
    lambda: sums.Counter(None, {}, {}, (), print, sums.Cell, 1),
    lambda: setattr(sums.Counter(None, {}, {}, {}, print, sums.Cell, 1), "cells", None),
], ids=range(16))  # fmt: skip
def test_wrong_arguments_are_a_TypeError(call):
    with pytest.raises(TypeError):
        call()


def test_a_key_that_has_no_cell_is_a_KeyError_and_a_step_a_ValueError():
    with pytest.raises(KeyError):
        sums.Sums.of(["a"], {}, 0)
    with pytest.raises(ValueError, match="pieces"):
        kept([])[::2]


def test_the_limit_of_a_frame_is_one_that_C_counts_to():
    rows = [row(f"{at:0900}", 1, 2, 3, 4) for at in range(90)]
    count, size = kept(rows).fit(FRAME_MAX)
    assert size <= FRAME_MAX < size + 930
    assert len(msgspec.json.encode(rows[:count])) <= FRAME_MAX < len(msgspec.json.encode(rows[: count + 1]))


def work() -> None:
    held = table(stat(max_keys=8))
    tap = held.taps[0]
    taps = sums.Taps({"s": tap.listener()})
    for _ in range(3):
        for at in range(10):
            taps("s", f"key {at}", at)
            taps("s", f"key {at}", BOUND - 1)
            taps("s", {"a": 1}, 0.5)
            taps("none", "a", value=1)
        own = held.cut()
        taps("s", "a", 7)
        read = sums.Sums.read([row(key, 1, 2, 3, 4) for key in "abcd"])
        merged = sums.Sums.merged([read, read[1:], read[:2] + read[3:]])
        sums.Sums.merged([kept([row("a", 1, 2, 3, BOUND - 1)])] * 2)
        sums.Sums.read([row("a", 1, 2, 3, 4), None])
        repr(merged), list(merged), merged.fit(40), merged.keys, merged.observed, merged == own
        sum_cells()(1, 2, 10**40).whole += 1


def test_nothing_leaks():
    tracemalloc.start()
    for _ in range(10):
        work()
    gc.collect()
    before, references = tracemalloc.get_traced_memory()[0], sys.getrefcount(None)
    for _ in range(100):
        work()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # A leak of one object a round would be 3,000 bytes.
    assert grown < 1500
    assert abs(sys.getrefcount(None) - references) < 50
