"""`flux.idset` and `flux.hostlist` against sets and lists of Python's, and what Flux's own said to the same text."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.fluxapi.hostlist import Hostlist
from brokersim.fluxapi.idset import (
    IDSET_FLAG_BRACKETS,
    IDSET_FLAG_RANGE,
    IDSET_INVALID_ID,
    IDset,
)

sets = st.sets(st.integers(0, 200), max_size=40)
OPERATIONS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (operator.add, operator.or_),
    (operator.or_, operator.or_),
    (operator.and_, operator.and_),
    (operator.sub, operator.sub),
]


@given(sets, sets, st.sampled_from(OPERATIONS), st.integers(0, 210))
def test_a_set_of_ids_is_a_set(
    one: set[int], two: set[int], operation: tuple[Callable[..., Any], Callable[..., Any]], at: int
) -> None:
    ours, theirs = operation
    wanted = theirs(one, two)
    for other in (IDset(two), str(IDset(two)), two):
        found = ours(IDset(one), other)
        assert set(found) == wanted and list(found) == sorted(wanted) and len(found) == len(wanted)
    assert IDset(str(found)) == found and IDset(found.encode(0)) == found
    assert (at in found) == (at in wanted) == found[at]
    assert found.next(at) == min((one for one in wanted if one > at), default=IDSET_INVALID_ID)
    assert (found.first(), found.last()) == (
        min(wanted, default=IDSET_INVALID_ID),
        max(wanted, default=IDSET_INVALID_ID),
    )


@given(sets, st.integers(0, 100), st.integers(0, 100))
def test_ids_are_set_and_cleared_one_by_one_and_in_ranges(ids: set[int], first: int, more: int) -> None:
    span = set(range(first, first + more + 1))
    assert set(IDset(ids).set(first, first + more)) == ids | span
    assert set(IDset(ids).clear(first, first + more)) == ids - span
    found = IDset(ids)
    found[first] = True
    assert set(found) == ids | {first} and found.copy().clear(first) == IDset(ids - {first})
    found += [first + 1]
    found -= str(first)
    assert set(found) == (ids | {first + 1}) - {first}


def test_ids_are_written_as_the_flags_say() -> None:
    ids = IDset("1-3,5")
    both = IDSET_FLAG_BRACKETS | IDSET_FLAG_RANGE
    assert (ids.encode(), ids.encode(0), ids.encode(both)) == ("1-3,5", "1,2,3,5", "[1-3,5]")
    assert (IDset("7").encode(both), IDset("").encode(both), repr(ids)) == ("7", "", "IDset('1-3,5')")
    ids.set_flags(both)
    assert str(ids) == "[1-3,5]"


@pytest.mark.parametrize(
    "text", ["0-3,1", "3,1", "1-1", "1,1", "[1", "1]", " 1", "01", "1-", "-1", "a", "1-3-5", "4294967293"]
)
def test_text_that_is_no_set_of_ids_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid argument"):
        IDset(text)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (lambda: IDset(None), TypeError),
        (lambda: IDset([-1]), ValueError),
        (lambda: IDset("1") == "1", TypeError),
        (lambda: "a" in IDset("1"), TypeError),
        (lambda: IDset("1").test(-1), ValueError),
        (lambda: IDset("1").next(-1), ValueError),
        (lambda: IDset("1").set(5, 3), ValueError),
        (lambda: IDset("1").set(1 << 25), OSError),
        (lambda: IDset("1").__setitem__(2, 7), TypeError),
        (lambda: hash(IDset("1")), TypeError),
    ],
)
def test_what_is_no_id_is_refused(what: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        what()


HOSTS = {
    "h[3,1,2]": "h[3,1-2]",
    "h1,h2,h3": "h[1-3]",
    "h1,h1": "h[1,1]",
    "h09,h10": "h[09-10]",
    "h[0-1]x": "h0x,h1x",
    "a b,,c": "a,b,c",
    "foo1,bar1,foo2": "foo1,bar1,foo2",
    "h001,h2": "h[001,2]",
    "1,2,3": "[1-3]",
    "": "",
}


@pytest.mark.parametrize(("text", "written"), HOSTS.items())
def test_hosts_are_read_and_written_as_by_flux(text: str, written: str) -> None:
    assert str(Hostlist(text)) == written


@given(st.lists(st.sampled_from(["a", "b", "n1", "n2", "n10", "n01"]), max_size=12), st.data())
def test_a_list_of_hosts_is_a_list(names: list[str], data: st.DataObject) -> None:
    hosts = Hostlist(names)
    assert list(hosts) == list(Hostlist(str(hosts))) == hosts.expand() == names and hosts.count() == len(
        names
    )
    gone = data.draw(st.lists(st.sampled_from(["a", "n1", "x"]), max_size=3))
    left, number = list(names), 0
    for name in gone:
        if name in left:
            left.remove(name)
            number += 1
    other = hosts.copy()
    assert (other.delete(gone), list(other), list(hosts)) == (number, left, names)
    assert (other.append("x", ["y", "z"]), list(other)) == (3, [*left, "x", "y", "z"])
    assert list(hosts.copy().uniq()) == [
        name for name in ("a", "b", "n1", "n01", "n2", "n10") if name in names
    ]
    assert sorted(hosts.copy().sort()) == sorted(names)
    assert list(hosts[1:3]) == names[1:3]
    assert [name in hosts for name in gone] == [name in names for name in gone]


def test_hosts_are_found_by_name_and_place() -> None:
    hosts = Hostlist("h[0-9]")
    assert (hosts[-1], str(hosts[[1, 3]]), hosts.index("h3,h1"), hosts.find("h4")) == (
        "h9",
        "h[1,3]",
        [3, 1],
        4,
    )
    assert hosts.index("x,h1", ignore_nomatch=True) == [1]
    with pytest.raises(FileNotFoundError, match=r"hosts 'x,y' not found"):
        hosts.index("x,y")
    with pytest.raises(FileNotFoundError):
        hosts.find("q")
    with pytest.raises(IndexError):
        hosts[10]
    with pytest.raises(TypeError):
        hosts["x"]  # type: ignore[call-overload]


@pytest.mark.parametrize("text", ["h[1-0]", "h["])
def test_text_that_is_no_list_of_hosts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid hostlist"):
        Hostlist(text)


@pytest.mark.parametrize("value", [5, [1], None])
def test_what_is_no_list_of_hosts_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        Hostlist(value)
