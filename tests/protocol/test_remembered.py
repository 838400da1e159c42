"""What was made of a value of late: the same as making it anew, whatever became of the value."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol import remembered
from brokersim.protocol.remembered import Remembered

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=12))
def test_what_is_remembered_is_what_would_be_made_anew(several: list[Any]) -> None:
    made = Remembered[str]()
    for value in several + several:
        assert made.of(value, lambda value=value: repr(value)) == repr(value)


def test_a_value_is_looked_at_once_as_long_as_it_stays_as_it_is() -> None:
    made, looks = Remembered[int](), []

    def look() -> int:
        looks.append(None)
        return len(looks)

    value: dict[str, Any] = {"tasks": [{"command": ["a"]}]}
    assert [made.of(value, look) for _ in range(3)] == [1, 1, 1]
    value["tasks"][0]["command"].append("b")
    assert made.of(value, look) == 2, "its owner has changed it"
    assert made.of({"tasks": [{"command": ["a"]}]}, look) == 1, "an equal one is as good"


def test_bytes_are_no_text_and_numbers_no_names() -> None:
    made = Remembered[str]()
    for value in (b"eA==", "eA==", {1: 2}, {"1": 2}, True, 1, 1.0):
        assert made.of(value, lambda value=value: repr(value)) == repr(value)


def test_no_more_than_a_few_are_kept_and_none_that_is_long() -> None:
    made = Remembered[int]()
    for number in range(3 * remembered._MOST):
        made.of(number, lambda number=number: number)
        assert len(made._made) <= remembered._MOST
    before = len(made._made)
    assert made.of("x" * 5000, lambda: 7) == 7
    assert len(made._made) == before


def test_what_cannot_be_written_down_is_made_each_time() -> None:
    made = Remembered[int]()
    assert made.of(object(), lambda: 1) == 1
    assert made.of(1 << 70, lambda: 2) == 2
    assert not made._made
