"""How a counter moved: the vectors of the specification, and laws for any width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.counter import RESET, ROSE, WRAPPED, step


@pytest.mark.parametrize(
    ("old", "new", "more", "expected"),
    [
        (4294967290, 10, {"width": 32}, (WRAPPED, 16)),
        (10000, 5, {"width": 32}, (RESET, None)),
        (2**64 - 6, 10, {"width": 64}, (WRAPPED, 16)),
        (4000000000, 0, {"width": 32}, (WRAPPED, 294967296)),
        (4000000000, 0, {"width": 32, "same": False}, (RESET, None)),
        (4000000000, 0, {"width": 32, "most": 1e6}, (RESET, None)),
        (4294967290, 10, {"width": 32, "most": 16}, (WRAPPED, 16)),
        (5, 5, {}, (ROSE, 0)),
        (5, 12, {}, (ROSE, 7)),
        # Another process under the same number: what it has counted is no growth of the first one's.
        (5, 12, {"same": False}, (RESET, None)),
    ],
)
def test_a_wrap_and_a_reset_are_told_apart(old, new, more, expected):
    assert step(old, new, **more) == expected


@given(st.sampled_from([16, 32, 64]), st.data())
def test_what_a_counter_grew_by_is_found_however_it_wraps(width, data):
    true = data.draw(st.integers(0, 1 << (width + 4)))
    grew = data.draw(st.integers(0, (1 << (width - 1)) - 1))
    found = step(true % (1 << width), (true + grew) % (1 << width), width=width)
    assert found.delta == grew
