"""Sorted streams become one, row by row, however they come; limits follow RFC 6298."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.metrics.limits import Limit
from modules.metrics.merge import OWN, Merge
from tests.effort import examples
from tests.modules.metrics.rig import shown, stat

ONE = stat()


def row(key: str, value: int) -> list[object]:
    return [key, [[1, 0.0, 0.0, [value]]]]


def sums(rows: list[list[object]]) -> dict[str, int]:
    return {r[0]: r[1][0][3][0] for r in rows}  # type: ignore[index]


def merge_with(own: list[list[object]]) -> Merge:
    """A merge whose own rows are there."""
    merge = Merge(ONE.merge_all)
    merge.give(OWN, own)
    merge.end(OWN)
    return merge


tables = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9)), min_size=1, max_size=5)


@given(tables=tables, data=st.data())
@settings(max_examples=examples(15), deadline=None)
def test_any_order_of_arrival_gives_each_key_once_with_its_whole_sum(tables, data):
    own, *others = ([row(key, value) for key, value in sorted(one.items())] for one in tables)
    merge = merge_with(own)
    left = dict(enumerate(others))
    for rank in left:
        merge.add(rank)
    taken = []
    most = data.draw(st.integers(1, 9))
    while left:
        rank = data.draw(st.sampled_from(sorted(left)))
        count = data.draw(st.integers(0, 3))
        merge.give(rank, left[rank][:count])
        left[rank] = left[rank][count:]
        if not left[rank] and data.draw(st.booleans()):
            merge.end(rank)
            del left[rank]
        if data.draw(st.booleans()):
            taken += merge.take(most)
    while rows := merge.take(most):
        taken += rows
    assert merge.is_over
    assert [r[0] for r in taken] == sorted({key for one in tables for key in one})
    total: dict[str, int] = {}
    for one in tables:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    assert sums(taken) == total


def test_a_row_waits_until_every_live_source_has_passed_its_key():
    merge = merge_with([row("a", 1), row("c", 1)])
    merge.add(1)
    merge.add(2)
    assert merge.take(9) == []
    merge.give(1, [row("b", 1)])
    assert merge.take(9) == []
    merge.give(2, [row("a", 1)])
    assert sums(merge.take(9)) == {"a": 2}
    merge.end(2)
    assert sums(merge.take(9)) == {"b": 1}
    merge.end(1)
    assert sums(merge.take(9)) == {"c": 1}
    assert merge.is_over


def test_no_more_of_a_source_is_taken_than_was_wanted():
    merge = merge_with([row(key, 1) for key in "abcd"])
    merge.add(1)
    merge.give(1, [row(key, 1) for key in "bcde"])
    merge.end(1)
    taken = []
    while rows := merge.take(2):
        taken.append(sums(rows))
    assert taken == [{"a": 1, "b": 2}, {"c": 2, "d": 2}, {"e": 1}]


def test_rows_of_a_cut_are_made_as_they_are_merged():
    made = []

    class Rows(list):
        def __getitem__(self, at):
            made.append(at)
            return super().__getitem__(at)

    merge = Merge(ONE.merge_all)
    merge.give(OWN, Rows([row(key, 1) for key in "abcd"]), ["a", "b", "c", "d"])
    merge.end(OWN)
    assert sums(merge.take(2)) == {"a": 1, "b": 1}
    assert made == [slice(0, 2)]


def test_rows_that_do_not_ascend_are_refused():
    merge = merge_with([])
    merge.add(7)
    merge.give(7, [row("b", 1)])
    with pytest.raises(ValueError, match="rank 7 sent key b behind b: rows ascend"):
        merge.give(7, [row("b", 1)])


def limits(waits: list[float]) -> Iterator[float]:
    limit = Limit()
    for wait in waits:
        limit.sample(wait)
        assert limit.learnt is not None
        yield limit.learnt


def test_a_limit_follows_the_worked_example():
    assert list(limits([0.10, 0.12, 0.50])) == pytest.approx([0.3, 0.2725, 0.6771875])


def test_a_limit_begins_with_the_budget_has_a_floor_and_doubles():
    limit = Limit()
    assert (limit.seconds(300.0), limit.margin()) == (300.0, 0.01)
    limit.sample(0.001)
    assert limit.seconds(300.0) == 1.0
    limit.expired()
    assert limit.seconds(300.0) == 2.0
    limit.expired()
    assert limit.seconds(300.0) == 4.0
    assert limit.seconds(3.0) == 3.0
    limit.sample(10.0)
    assert limit.seconds(300.0) == limit.learnt
    assert shown(ONE, []) == {}


def calls_to_wait_for(children: int) -> int:
    """Functions called for one child's rows while another's are not there yet."""
    merge = merge_with([row("a", 1)])
    for rank in range(children):
        merge.add(rank)
    count = 0

    def called(_frame: object, _event: str, _arg: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        merge.give(0, [row("a", 1)])
        rows, is_over = merge.take(9), merge.is_over
    finally:
        sys.setprofile(before)
    assert (rows, is_over) == ([], False)
    return count


def test_a_frame_of_one_child_does_not_look_at_all_others():
    assert calls_to_wait_for(children=2) == calls_to_wait_for(children=500)
