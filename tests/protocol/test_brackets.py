"""How deep JSON is nested, against a walk of the value itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.brackets import DEEPEST, is_too_deep
from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import decode_json


def depth(value: Any) -> int:
    """Levels of a value, an empty list having one."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def nested(levels: int, value: Any, has_names: bool) -> Any:
    for _ in range(levels):
        value = {"]": value, "a": "{"} if has_names else [value, '\\"[']
    return value


VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text('[]{}"\\a', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[{"', max_size=2), inner, max_size=3)
    ),
)


@given(VALUES, st.integers(0, DEEPEST + 20), st.booleans(), st.integers(1, 300))
def test_a_text_is_too_deep_as_its_value_is(value, levels, has_names, width):
    whole = [nested(levels, value, has_names)] * width
    assert is_too_deep(msgspec.json.encode(whole)) == (depth(whole) > DEEPEST)


@pytest.mark.parametrize("has_names", [False, True])
def test_the_deepest_level_is_taken_and_the_next_is_not(has_names):
    inner = nested(DEEPEST - 1, 1, has_names)
    assert decode_json("x", msgspec.json.encode({"a": inner})) == {"a": inner}
    with pytest.raises(RequestError, match="x: payload is nested more than 300 levels deep") as caught:
        decode_json("x", msgspec.json.encode({"a": [inner]}))
    assert caught.value.errno == EPROTO


def test_what_is_long_and_flat_or_deep_without_an_end_costs_a_look_or_two():
    assert not is_too_deep(b"[" + b"{}," * 100_000 + b"{}]")
    assert not is_too_deep(b'["' + b"[" * 200_000 + b'"]')
    assert is_too_deep(b"[" * 200_000)
