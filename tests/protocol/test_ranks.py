"""Sets of ranks as people write them become lists, and lists become the shortest text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.ranks import bits, check_ranks, format_ranks, parse_ranks


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("0", [0]),
        ("1-3", [1, 2, 3]),
        ("0,4", [0, 4]),
        ("all", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("4,0-1,1-2", [0, 1, 2, 4]),
        ("[0-1,7]", [0, 1, 7]),
        (" 2 , 3-3 ", [2, 3]),
        ("007", [7]),
    ],
)
def test_ranks_are_read_ascending_and_once_each(text: str, ranks: list[int]) -> None:
    assert parse_ranks(text, 8) == ranks
    assert check_ranks(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", "0,", "-1", "1-", "1--2", "1-2-3", "a", "All", "[0", "0]", "[]", "0 1", "1.0", "٣", "+1"],
)
def test_text_outside_the_grammar_is_refused_with_what_would_be_right(text: str) -> None:
    fault = f"^not a set of ranks: {re.escape(repr(text))}; give ranks as 0, 1-3, 0,4 or all$"
    for read in (lambda: parse_ranks(text, 8), lambda: check_ranks(text)):
        with pytest.raises(ValueError, match=fault):
            read()


def test_a_range_that_counts_down_is_turned_round_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"'0,5-2': 5-2 counts down; give 2-5$"):
        parse_ranks("0,5-2", 8)


@pytest.mark.parametrize(
    ("text", "size", "fault"),
    [
        ("8", 8, "no rank 8: the instance has ranks 0-7"),
        ("0-4294967295", 8, "no rank 8: the instance has ranks 0-7"),
        ("0,9-12", 8, "no rank 9: the instance has ranks 0-7"),
        ("1", 1, "no rank 1: the instance has rank 0 only"),
    ],
)
def test_a_rank_the_instance_lacks_is_named_without_listing_the_rest(
    text: str, size: int, fault: str
) -> None:
    with pytest.raises(ValueError, match=f"^{fault}$"):
        parse_ranks(text, size)


@given(st.sets(st.integers(0, 99)))
def test_format_gives_the_shortest_text_that_reads_back(ranks: set[int]) -> None:
    text = format_ranks(sorted(ranks, reverse=True))
    if ranks:
        assert parse_ranks(text, 100) == sorted(ranks)
    starts = sum(rank - 1 not in ranks for rank in ranks)
    assert len([part for part in text.split(",") if part]) == starts


def test_format_of_examples() -> None:
    assert [format_ranks(ranks) for ranks in ([], [3], [0, 1], [4, 2, 3, 0])] == ["", "3", "0-1", "0,2-4"]


@given(st.text("0123456789-,[] al", max_size=12))
def test_any_text_gives_ranks_of_the_instance_or_ValueError(text: str) -> None:
    try:
        ranks = parse_ranks(text, 10)
    except ValueError:
        return
    assert ranks == sorted(set(ranks))
    assert ranks and set(ranks) <= set(range(10))


@given(st.sets(st.integers(0, 3000), max_size=40))
def test_bits_are_those_that_are_set_lowest_first(numbers):
    assert list(bits(sum(1 << number for number in numbers))) == sorted(numbers)
