"""Lists of hosts: what is written out, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.hostlist import HOSTS_MAX, expand


def test_brackets_are_written_out_in_order_with_their_zeros():
    assert expand("n[08-10,3]x,login") == ["n08x", "n09x", "n10x", "n3x", "login"]
    assert expand("") == []


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=5))
def test_every_number_listed_is_a_host(numbers):
    assert expand(f"sim[{','.join(map(str, numbers))}]") == [f"sim{number}" for number in numbers]


@pytest.mark.parametrize(
    "text", ["n[", "n[3-1]", "n[]", "a b", ",", "n[1-2", "n]", f"n[0-{HOSTS_MAX}]", "n[1--2]", "[a]"]
)
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match="not a list of hosts"):
        expand(text)
