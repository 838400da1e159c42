"""Records, versions and filters against models that know nothing of either's way of keeping them."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import RequestError
from modules.registry.query import selected
from modules.registry.records import ANY, HISTORY, Book, merge_patch
from modules.registry.schemas import COLLECTIONS, SCHEMAS, faults


def book():
    ids = iter(range(10**6))
    return Book(lambda: f"id{next(ids)}")


def write(kept, changes):
    kept.enter(changes)
    return [change.record for change in changes]


def refused(act, *args):
    with pytest.raises(RequestError) as caught:
        act(*args)
    return caught.value


SERVICE = {"name": "s"}
acts = st.lists(
    st.tuples(
        st.sampled_from(["post", "put", "patch", "delete", "register"]), st.sampled_from("ab"), st.integers(-1, 4),
        st.integers(0, 2),
    ),
    max_size=25,
)  # fmt: skip


@given(acts)
def test_writes_are_what_a_table_of_the_last_values_says(steps):
    """The model: by id the fields and a number that counts every change, deleting included."""
    kept, values, numbers = book(), {}, {}
    for step, (act, ident, at, label) in enumerate(steps):
        fields = {"metric": "m", "subject": f"s{label}"}
        there, is_expected = ident in values, at == ANY or at == (numbers[ident] if ident in values else 0)
        wanted = {
            "post": not there,
            "put": is_expected,
            "patch": is_expected and there,
            "delete": is_expected and there,
            "register": True,
        }[act]
        calls = {
            "post": (kept.post, "metadata", [{"id": ident, **fields}], step),
            "put": (kept.put, "metadata", ident, fields, at, step),
            "patch": (kept.patch, "metadata", ident, {"subject": f"s{label}"}, at, step),
            "delete": (kept.delete, "metadata", ident, at, step),
            "register": (kept.register, {"metadata": [{"id": ident, **fields}]}, step),
        }
        call, *args = calls[act]
        if not wanted:
            assert refused(call, *args).errno in (errno.EEXIST, errno.ESTALE, errno.ENOENT)
            continue
        write(kept, call(*args))
        if act == "delete":
            del values[ident]
            numbers[ident] += 1
        elif values.get(ident) != fields:
            values[ident] = fields
            numbers[ident] = numbers.get(ident, 0) + 1
    found = {
        one["id"]: ({"metric": one["metric"], "subject": one["subject"]}, one["version"])
        for one in kept.all("metadata", 0)
    }
    assert found == {ident: (fields, numbers[ident]) for ident, fields in values.items()}


def test_a_list_with_one_wrong_record_writes_none_and_each_fault_has_its_pointer():
    kept = book()
    error = refused(kept.post, "measurements", [{"probe": "cpu"}, {"prob": "cpu", "labels": {"a/b": 1}}], 0)
    assert error.errno == errno.EINVAL
    assert error.text == (
        "/1/probe is missing; /1/prob is no key (is probe meant?); /1/labels/a~1b must be string, not 1"
    )
    assert kept.all("measurements", 0) == []


def test_old_versions_are_kept_as_many_as_the_history_is_long():
    kept = book()
    write(kept, kept.post("nodes", [{"id": "n", "load": 0}], 0))
    for load in range(1, 30):
        write(kept, kept.put("nodes", "n", {"load": load}, load, load))
    history = kept.history("nodes", "n")
    assert [one["version"] for one in history] == list(range(30 - HISTORY + 1, 31))
    assert [one["load"] for one in history] == list(range(30 - HISTORY, 30))


def test_what_says_nothing_new_is_no_version_whatever_the_server_keys_say():
    kept = book()
    [first] = write(kept, kept.post("nodes", [{"id": "n", "a": 1}], 0))
    assert kept.put("nodes", "n", {**first, "ts": 99, "version": 7, "hash": "x"}, 1, 5) == []


def test_a_service_expires_by_its_time_to_live_and_is_back_when_it_is_heard_of():
    kept = book()
    write(kept, kept.post("services", [{"id": "s", "name": "s", "ttl": 10}], 100.0))
    assert kept.get("services", "s", 110.0)["state"] == "alive"
    assert kept.get("services", "s", 110.1)["state"] == "expired"
    assert kept.register({"services": [{"id": "s", "name": "s", "ttl": 10}]}, 200.0) == []
    assert kept.get("services", "s", 209.0)["state"] == "alive"
    assert kept.get("services", "s", 209.0)["version"] == 1


def test_a_record_that_was_deleted_says_so_and_goes_on_counting():
    kept = book()
    write(kept, kept.post("nodes", [{"id": "n"}], 0))
    write(kept, kept.delete("nodes", "n", 1, 1))
    assert "deleted (version 2)" in refused(kept.get, "nodes", "n", 2).text
    [again] = write(kept, kept.post("nodes", [{"id": "n", "a": 1}], 3))
    assert again["version"] == 3


@pytest.mark.parametrize("ident", ["", "a.b", "a/b", "ü", "x" * 129, 5, None])
def test_an_id_that_is_no_key_is_refused(ident):
    assert "/0/id must be" in refused(book().post, "nodes", [{"id": ident}], 0).text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(COLLECTIONS),
    JSON | st.dictionaries(st.sampled_from(["name", "probe", "ttl", "sinks"]), JSON),
)
def test_whatever_a_record_is_made_of_it_is_taken_or_every_fault_has_a_pointer(collection, value):
    for fault in faults(value, SCHEMAS[collection]):
        assert fault.startswith("/")


@given(JSON, JSON)
def test_a_merge_patch_is_RFC_7396_said_otherwise(target, patch):
    """By paths: what the patch has at a leaf stands there; what it does not name is as it was."""
    got = merge_patch(target, patch)
    if not isinstance(patch, dict):
        assert got == patch
        return
    old = target if isinstance(target, dict) else {}
    assert set(got) == {key for key in set(old) | set(patch) if patch.get(key, 0) is not None}
    for key, value in got.items():
        assert value == (old[key] if key not in patch else merge_patch(old.get(key), patch[key]))


RECORDS = [
    {"id": "a", "n": 1, "deep": {"every": 2}, "who": "tom"},
    {"id": "b", "n": 7, "deep": {"every": 10}, "who": None},
    {"id": "c", "n": "7", "who": "not=tom"},
    {"id": "d", "n": True, "deep": {"every": 5.0}},
]


@pytest.mark.parametrize(
    ("filter_", "ids"),
    [
        ({}, "abcd"), ({"n": 1}, "a"), ({"n": True}, "d"), ({"n": {"ne": 1}}, "bcd"), ({"n": {"gt": 1}}, "b"),
        ({"n": {"gte": "7"}}, "c"), ({"deep.every": {"lt": 5}}, "a"), ({"deep.every": {"lte": 5, "gt": 2}}, "d"),
        ({"or": [{"n": 1}, {"deep.every": {"lt": 6}}]}, "ad"), ({"not": {"who": {"exists": True}}}, "d"),
        ({"who": {"null": True}}, "b"), ({"who": {"re": "^not=t"}}, "c"), ({"who": "tom"}, "a"),
        ({"id": {"in": ["a", "d", 5]}}, "ad"), ({"n": {"in": [1]}}, "a"), ({"deep": {"exists": False}}, "c"),
    ],
)  # fmt: skip
def test_filters(filter_, ids):
    found, total = selected(RECORDS, {"filter": filter_})
    assert "".join(one["id"] for one in found) == ids and total == len(ids)


def test_some_of_them_in_an_order_and_some_of_each():
    found, total = selected(
        RECORDS, {"sort": "-deep.every,id", "skip": 1, "limit": 2, "fields": "id,deep.every"}
    )
    assert total == 4
    assert found == [{"id": "b", "deep.every": 10}, {"id": "d", "deep.every": 5.0}]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"filter": {"a": {"les": 1}}}, "no operator 'les'"), ({"filter": {"a": {"re": "("}}}, "unterminated"),
        ({"filter": {"or": {}}}, "or needs a list"), ({"filter": {"a": {"lt": None}}}, "needs a number or a text"),
        ({"limit": -1}, "limit must be"), ({"filter": {"a": {"in": 5}}}, "in needs a list"),
        ({"filter": {"a": {"re": "x" * 201}}}, "longer than 200"),
    ],
)  # fmt: skip
def test_what_is_no_question(wish, says):
    assert says in refused(selected, RECORDS, wish).text
