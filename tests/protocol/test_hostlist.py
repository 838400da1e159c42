"""Lists of hosts: what is written out, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.hostlist import HOSTS_MAX, compress, expand


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


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["sim0"], "sim0"),
        (["n0", "n1", "n2", "n5"], "n[0-2,5]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["n9", "n010"], "n[9,010]"),
        (["fake0", "fake1", "big", "big"], "fake[0-1],big,big"),
        (["n1", "m1", "n2"], "n1,m1,n2"),
        (["n1", "n1"], "n[1,1]"),
    ],
)
def test_hosts_are_written_in_short(hosts, text):
    assert compress(hosts) == text


@given(st.lists(st.from_regex(r"[a-z]{1,2}[0-9]{0,3}", fullmatch=True), max_size=12))
def test_what_is_written_in_short_reads_back_in_the_same_order(hosts):
    assert expand(compress(hosts)) == hosts
