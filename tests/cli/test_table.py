"""Tables: columns that are given up on a narrow terminal, in their order, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.cli.table import cell, fitting, folded, left_out, render

TITLES = ("NAME", "SIZE", "COMMAND", "ADDRESS")
ROWS = [["dev", "1", "./test.sh", "local:///run/dev/local-0"], ["b", "12", "-", "local:///run/b/local-0"]]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (200, ("NAME", "SIZE", "COMMAND", "ADDRESS")),
        (47, ("NAME", "SIZE", "COMMAND", "ADDRESS")),  # 4 + 4 + 9 + 24 and three gaps of 2
        (46, ("NAME", "SIZE", "COMMAND")),
        (20, ("NAME", "COMMAND")),
        (1, ("NAME", "COMMAND")),
    ],
)
def test_columns_go_in_the_order_named_until_the_rest_fits(width: int, titles: tuple[str, ...]) -> None:
    found, rows = fitting(TITLES, ROWS, width, ("ADDRESS", "SIZE"))
    assert tuple(found) == titles
    kept = [TITLES.index(title) for title in titles]
    assert rows == [[row[at] for at in kept] for row in ROWS]


def test_a_table_without_rows_has_its_titles() -> None:
    assert fitting(TITLES, [], 200, ("ADDRESS",)) == (TITLES, [])


texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=60)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(st.integers(1, 9))
    line = st.lists(texts, min_size=columns, max_size=columns)
    return draw(st.lists(texts.map(lambda text: text[:20]), min_size=columns, max_size=columns)), draw(
        st.lists(line, max_size=4)
    )


@given(tables(), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(
    table: tuple[list[str], list[list[str]]], width: int
) -> None:
    titles, rows = table
    text = folded(titles, rows, width)
    assert all(len(line) <= width for line in text.splitlines())
    letters = sorted("".join(text.split()))
    for one in {letter for row in rows for each in row for letter in "".join(each.split())}:
        assert letters.count(one) >= sum("".join(row).count(one) for row in rows)


@given(tables())
def test_a_table_that_fits_is_as_it_is_anywhere(table: tuple[list[str], list[list[str]]]) -> None:
    assert folded(*table, 1000) == render(*table)


def test_text_is_folded_and_numbers_are_not() -> None:
    assert folded(("N", "WHY"), [["1,234", "one and two and three"]], 20).splitlines() == [
        "    N  WHY",
        "1,234  one and two",
        "       and three",
    ]


def test_a_table_of_too_many_columns_continues_below_with_its_names() -> None:
    titles = ("module", *(f"counter_{n}" for n in range(4)))
    assert folded(titles, [["kvs", "1", "2", "3", "4"]], 30).splitlines() == [
        "module  counter_0  counter_1",
        "kvs             1          2",
        "",
        "module  counter_2  counter_3",
        "kvs             3          4",
    ]


def test_a_cell_of_nothing_is_a_dash_and_a_number_has_no_more_digits_than_it_needs() -> None:
    assert [cell(value) for value in (None, "", 0, 0.0, 2.50, "x", False)] == [
        "-",
        "-",
        "0",
        "0",
        "2.5",
        "x",
        "False",
    ]


def test_columns_there_is_no_room_for_are_named_with_a_way_to_see_them() -> None:
    assert left_out([], "--json shows") == ""
    assert left_out(["a"], "--json shows") == "no room for a: a wider terminal, --json shows it"
    assert left_out(["a", "b"], "--json shows") == "no room for a, b: a wider terminal, --json shows them"
