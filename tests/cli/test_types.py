"""How people write things, against independent models."""

from __future__ import annotations

import json
import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.cli.mask import MASK_BITS
from brokersim.cli.table import render
from brokersim.cli.types import MASK, Target, parse_assignment, parse_object, parse_target


@given(st.integers(0, 0xFFFFFFFF), st.sampled_from(["{:#x}", "{:#X}", "{}", "0{:o}"]))
def test_a_mask_in_any_base_is_the_same_number(mask: int, form: str) -> None:
    assert MASK.convert(form.format(mask), None, None) == mask


@given(st.lists(st.sampled_from(MASK_BITS)), st.integers(0, 0xFFF))
def test_names_and_numbers_add_up(bits: list[tuple[int, str, str]], rest: int) -> None:
    text = "+".join([*(name for _, name, _ in bits), hex(rest)])
    expected = rest
    for bit, _, _ in bits:
        expected |= bit
    assert MASK.convert(text, None, None) == expected


@given(st.text(max_size=12))
def test_any_text_is_a_mask_or_one_clear_error(text: str) -> None:
    try:
        mask = MASK.convert(text, None, None)
    except click.BadParameter as error:
        told = error.message
    else:
        assert 0 <= mask <= 0xFFFFFFFF
        return
    assert "is no mask; give 0x1000" in told or "more than 32 bits" in told


@pytest.mark.parametrize("text", ["", "+", "0x", "08", "-1", "1_000", "４", "0x1000+", "msgCount", "9" * 30])
def test_what_is_no_mask(text: str) -> None:
    with pytest.raises(click.BadParameter):
        MASK.convert(text, None, None)


@given(st.text(max_size=20) | st.from_regex(r"([0-9]{1,3}!)?[a-z]{1,5}", fullmatch=True))
def test_a_target_is_read_back_from_its_text(text: str) -> None:
    try:
        target = parse_target(text)
    except ValueError:
        assert not re.fullmatch(r"([0-9]{1,3}!)?[a-z]{1,5}", text)
        return
    assert target.service
    assert parse_target(str(target)) == target


def test_targets() -> None:
    assert parse_target("kvs") == Target("kvs", None)
    assert parse_target("4!kvs") == Target("kvs", 4)
    assert parse_target("4") == Target("broker", 4)
    assert parse_target("4294967293!kvs") == Target("kvs", 0xFFFFFFFD)
    for beyond in ("4294967294!kvs", "4294967294", "9" * 5000):
        with pytest.raises(ValueError, match=r"^not a rank: .*the largest there can be is 4294967293$"):
            parse_target(beyond)
    assert parse_target("any!kvs") == Target("kvs", None)


@given(st.text(max_size=20))
def test_an_assignment_splits_at_the_first_equals_sign(text: str) -> None:
    head = text.split("=")[0]
    if "=" in text and head:
        assert parse_assignment(text) == (head, text[len(head) + 1 :])
    else:
        with pytest.raises(ValueError, match="is no KEY=VALUE"):
            parse_assignment(text)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_a_json_object_is_read_as_it_is(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[1]", "1", '"a"', "null", "{'a':1}", "\ud800"])
def test_what_is_no_json_object(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not JSON|is no JSON object"):
        parse_object(text)


cells = st.text(st.characters(exclude_categories=["C"]), max_size=8)


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=6)
    )
)
def test_columns_line_up_and_lose_nothing(rows: list[list[str]]) -> None:
    titles, body = rows[0], rows[1:]
    widths = [max(len(row[at]) for row in rows) for at in range(len(titles))]
    for line, row in zip(render(titles, body).split("\n"), rows, strict=True):
        padded = line.ljust(sum(widths) + 2 * len(widths))
        for width, cell in zip(widths, row, strict=True):
            assert padded[:width].strip() == cell.strip()
            padded = padded[width + 2 :]


@given(st.lists(st.lists(st.text(max_size=6), min_size=2, max_size=2), max_size=5))
def test_tsv_has_a_line_a_row_and_a_tab_a_column(rows: list[list[str]]) -> None:
    lines = render(["a", "b"], rows, tsv=True).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.count("\t") == 1 for line in lines)
    back = [[cell.replace("\\t", "\t").replace("\\n", "\n").replace("\\\\", "\\") for cell in line.split("\t")]
            for line in lines[1:]]  # fmt: skip
    assert [len(row) for row in back] == [2] * len(rows)


def test_numbers_stand_to_the_right_and_titles_can_be_left_away() -> None:
    assert render(["N", "name"], [["1", "a"], ["20", "b"]]) == " N  name\n 1  a\n20  b"
    assert render(["N", "name"], [["1", "a"]], header=False) == "1  a"
    assert render(["N", "name"], [], header=False) == ""
