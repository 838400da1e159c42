"""The shell's document: places, edits, what can be taken back; against a model that edits whole copies."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.cli.registry.desk import Desk, Wrong

DOCUMENT = {
    "name": "s",
    "probes": {"load": {"probe": "cpu", "schedule": {"params": {"every": 2}}}, "kvs": {}},
}


def desk():
    return Desk(copy.deepcopy(DOCUMENT))


def test_one_goes_down_up_and_never_above_the_top():
    here = desk()
    here.go("probes/load")
    assert here.path == "/probes/load"
    here.go("../kvs")
    assert here.path == "/probes/kvs"
    here.go("../../../..")
    assert here.path == "/"
    here.go("/probes")
    assert here.names() == ["kvs/", "load/"] and here.names("load") == ["probe", "schedule/"]


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda d: d.go("prob"), "there is no /prob; is probes meant?"), (lambda d: d.go("name"), "is a value"),
        (lambda d: d.set("/", 1), "name a key"), (lambda d: d.set("name/x", 1), "has no keys"),
        (lambda d: d.delete("probes/cpu"), "there is no /probes/cpu"), (lambda d: d.undo(), "nothing was changed"),
        (lambda d: d.make("probes/load", False), "there already"), (lambda d: d.make("a/b", False), "there is no /a"),
        (lambda d: d.make("name/b", True), "is a value"), (lambda d: d.set("a/b", 1), "mkdir -p /a makes it"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_and_changes_nothing(act, says):
    here = desk()
    with pytest.raises(Wrong) as caught:
        act(here)
    assert says in str(caught.value)
    assert here.document == DOCUMENT and not here.is_changed


def test_a_place_in_a_list_is_a_number_of_it():
    here = Desk({"l": [1, [2]]})
    assert (here.at(("l", "0")), here.at(("l", "1", "0"))) == (1, 2)
    for key in ("2", "-1", "x"):
        with pytest.raises(Wrong, match=f"there is no /l/{key}"):
            here.at(("l", key))


def test_mkdir_p_makes_all_of_the_way_and_is_no_mistake_twice():
    here = desk()
    here.make("a/b/c", True)
    here.make("a/b/c", True)
    assert here.document["a"] == {"b": {"c": {}}}


keys = st.sampled_from(["a", "b", "a/b", "a/c", "b/a/c", "probes/load"])
edits = st.lists(
    st.tuples(st.sampled_from(["set", "del", "mkdir", "undo"]), keys, st.integers(0, 2)), max_size=20
)


@given(edits)
def test_undo_goes_back_through_every_edit_that_was_made(steps):
    here, past = Desk({}), []
    for act, path, value in steps:
        before = copy.deepcopy(here.document)
        try:
            {
                "set": lambda path=path, value=value: here.set(path, value),
                "del": lambda path=path: here.delete(path),
                "mkdir": lambda path=path: here.make(path, True),
                "undo": here.undo,
            }[act]()
        except Wrong:
            assert here.document == before
            continue
        if act == "undo":
            assert here.document == past.pop()
        else:
            past.append(before)
    while past:
        here.undo()
        assert here.document == past.pop()


def test_completion_goes_on_from_what_is_typed_and_offers_nothing_where_there_is_nothing():
    here = desk()
    assert here.complete("pro") == ["probes/"]
    assert here.complete("probes/l") == ["probes/load/"]
    assert here.complete("/probes/load/schedule/params/e") == ["/probes/load/schedule/params/every"]
    assert here.complete("nowhere/x") == []
    here.go("probes")
    assert here.complete("") == ["kvs/", "load/"]


def test_who_stands_in_what_is_deleted_stands_above_it():
    here = desk()
    here.go("probes/load/schedule")
    here.delete("/probes/load")
    assert here.path == "/probes"
    assert any(line.startswith("-") and "cpu" in line for line in here.diff())
