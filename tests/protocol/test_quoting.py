"""An error text can quote any value: short ones whole, long ones cut, monstrous ones by type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from brokersim.protocol import treeobj
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.quoting import LIMIT, quoted
from tests import strategies


@given(strategies.json_values)
def test_short_values_are_quoted_as_python_writes_them_and_long_ones_cut(value: Any) -> None:
    text = quoted(value)
    if len(repr(value)) <= LIMIT:
        assert text == repr(value)
    assert len(text) <= 12 * LIMIT  # a quoted character may take ten: \U0010ffff


def test_long_text_is_cut_and_marked() -> None:
    assert quoted("x" * 60) == repr("x" * 60)
    assert quoted("x" * 61) == repr("x" * 60) + "…"
    assert quoted(list(range(100))).endswith("…")


def nested_list() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [(nested_list(), "a value of type list"), (10**5000, "a value of type int")],
    ids=["deep", "long"],
)
def test_what_python_cannot_write_is_quoted_by_its_type(value: Any, text: str) -> None:
    assert quoted(value) == text
    with pytest.raises(RequestError, match=f"^treeobj: ver must be 1, not {text}$"):
        treeobj.check({"ver": value, "type": "val", "data": ""})
