"""Tables: columns that are given up on a narrow terminal, in their order, and no others."""

from __future__ import annotations

import pytest

from brokersim.cli.table import fitting

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
