"""Tree objects hash as upstream's do, and whatever is malformed is named before it gets into a namespace."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import blobref
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError
from tests import strategies

REF = "sha1-f572d396fae9206628714fb2ce00f72e94f2258f"


def stored(obj: treeobj.TreeObj) -> str:
    return blobref(treeobj.encode(obj))


def test_the_empty_directory_has_upstreams_name() -> None:
    assert treeobj.encode(treeobj.directory()) == b'{"data":{},"type":"dir","ver":1}'
    assert treeobj.EMPTY_DIR_REF == "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91"


def test_roots_after_commits_have_upstreams_names() -> None:
    assert (
        stored(treeobj.directory({"q": treeobj.val(b"1")})) == "sha1-465513047ac02de9e99956de8ce6365189b4f329"
    )
    below = stored(treeobj.directory({"c": treeobj.val(b"hello")}))
    assert below == "sha1-d356da329c76e53dc0e73f6882ceae9231cdbe96"
    root = treeobj.directory({"b": treeobj.dirref(below), "a": treeobj.val(b"1")})
    assert stored(root) == "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17"


@given(strategies.treeobjs)
def test_the_stored_form_is_compact_JSON_with_sorted_keys_and_reads_back(obj: treeobj.TreeObj) -> None:
    data = treeobj.encode(obj)
    model = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert data == model
    assert treeobj.decode(data) == obj


@given(st.binary())
def test_a_val_holds_its_bytes_as_base64(data: bytes) -> None:
    obj = treeobj.val(data)
    assert obj == {"ver": 1, "type": "val", "data": base64.b64encode(data).decode()}
    assert treeobj.val_bytes(obj) == data


@given(st.binary(max_size=3000), st.booleans())
def test_what_a_val_holds_is_the_same_whether_its_text_was_made_here_or_comes_from_afar(
    data: bytes, is_ours: bool
) -> None:
    obj = treeobj.val(bytearray(data))
    if not is_ours:
        treeobj._made.clear()
    assert treeobj.val_bytes(obj) == treeobj.check_held(obj) == data
    assert type(treeobj.val_bytes(obj)) is bytes


def test_of_values_made_here_few_and_short_ones_are_remembered() -> None:
    treeobj._made.clear()
    for number in range(1000):
        treeobj.val(number.to_bytes(2, "big") * 700)
        treeobj.val(number.to_bytes(2, "big") * 800)
        assert len(treeobj._made) <= 256
    assert 0 < max(map(len, treeobj._made)) <= 2048


@given(strategies.treeobjs)
def test_what_the_constructors_make_passes_the_check_as_the_same_object(obj: treeobj.TreeObj) -> None:
    assert treeobj.check(obj) is obj


def test_each_directory_has_a_dict_of_its_own() -> None:
    entries = {"a": treeobj.val(b"1")}
    first = treeobj.directory(entries)
    first["data"]["b"] = treeobj.val(b"2")
    assert list(entries) == ["a"]
    assert treeobj.directory()["data"] is not treeobj.directory()["data"]


def test_a_symlink_has_a_namespace_only_if_one_is_given() -> None:
    assert treeobj.symlink("a.b")["data"] == {"target": "a.b"}
    assert treeobj.symlink("a.b", "ns1")["data"] == {"target": "a.b", "namespace": "ns1"}


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda: treeobj.valref([]), "a valref needs one blobref or more, not []"),
        (lambda: treeobj.valref([REF, "x"]), "a valref needs one blobref or more, not ['sha1-"),
        (lambda: treeobj.dirref("x"), "a dirref needs a blobref, not 'x'"),
        (lambda: treeobj.symlink(""), "a symlink needs a target key, not ''"),
        (lambda: treeobj.symlink("a", ""), "the namespace of a symlink must have a name, not ''"),
    ],
)
def test_constructors_refuse_what_could_not_be_looked_up(build: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        build()


def obj(kind: Any, data: Any, **more: Any) -> dict[str, Any]:
    return {"ver": 1, "type": kind, "data": data, **more}


MALFORMED: list[tuple[Any, str]] = [
    (None, "treeobj: must be a JSON object, not null"),
    ([], "treeobj: must be a JSON object, not a list"),
    ("val", "treeobj: must be a JSON object, not text"),
    ({}, "treeobj: lacks ver, type, data"),
    ({"ver": 1, "data": ""}, "treeobj: lacks type"),
    ({**obj("val", ""), "ver": 2}, "treeobj: ver must be 1, not 2"),
    ({**obj("val", ""), "ver": True}, "treeobj: ver must be 1, not True"),
    ({**obj("val", ""), "ver": 1.0}, "treeobj: ver must be 1, not 1.0"),
    (obj("hdir", {}), "treeobj: type must be one of val, valref, dir, dirref, symlink, not 'hdir'"),
    (obj(["val"], ""), "treeobj: type must be one of val, valref, dir, dirref, symlink, not ['val']"),
    (obj("val", 1), "treeobj: data of a val must be base64 text"),
    (obj("val", "MQ"), "treeobj: data of a val must be base64 text"),
    (obj("val", "MQ==\n"), "treeobj: data of a val must be base64 text"),
    (obj("val", "é==="), "treeobj: data of a val must be base64 text"),
    (obj("val", "MQ==", size=-1), "treeobj: size must be a count of bytes, not -1"),
    (obj("val", "MQ==", mode=1), "treeobj: a val has no 'mode'"),
    (obj("dir", {}, size=1), "treeobj: a dir has no 'size'"),
    (obj("valref", []), "treeobj: data of a valref must be a list of one blobref or more"),
    (obj("valref", REF), "treeobj: data of a valref must be a list of one blobref or more"),
    (obj("valref", [REF, 1]), "treeobj: data of a valref must be a list of one blobref or more"),
    (obj("dirref", [REF, REF]), "treeobj: data of a dirref must be a list of exactly one blobref"),
    (obj("dirref", []), "treeobj: data of a dirref must be a list of exactly one blobref"),
    (obj("dirref", REF), "treeobj: data of a dirref must be a list of exactly one blobref"),
    (obj("dir", []), "treeobj: data of a dir must be an object of entries, not a list"),
    (obj("dir", {"": obj("val", "")}), "treeobj: '' cannot be the name of an entry"),
    (obj("dir", {"a.b": obj("val", "")}), "treeobj: 'a.b' cannot be the name of an entry"),
    (obj("symlink", "a"), "treeobj: data of a symlink must be an object with a target"),
    (obj("symlink", {}), "treeobj: target of a symlink must be text, not None"),
    (obj("symlink", {"target": 1}), "treeobj: target of a symlink must be text, not 1"),
    (
        obj("symlink", {"target": "a", "namespace": ""}),
        "treeobj: namespace of a symlink must be text, not ''",
    ),
    (
        obj("symlink", {"target": "a", "mode": 1}),
        "treeobj: data of a symlink must be an object with a target",
    ),
    (obj("dir", {"a": obj("dir", {"b": 7})}), "treeobj 'a.b': must be a JSON object, not a number"),
]


@pytest.mark.parametrize(("value", "fault"), MALFORMED, ids=[fault for _, fault in MALFORMED])
def test_a_malformed_object_is_EPROTO_and_says_where_and_what(value: Any, fault: str) -> None:
    with pytest.raises(RequestError, match="^" + re.escape(fault)) as caught:
        treeobj.check(value)
    assert caught.value.errno == EPROTO
    if value is not None:
        with pytest.raises(RequestError, match=re.escape(fault)):
            treeobj.decode(json.dumps(value).encode())


def test_the_optional_size_of_values_is_kept() -> None:
    for value in (obj("val", "MQ==", size=1), obj("valref", [REF], size=6)):
        assert treeobj.decode(treeobj.encode(value)) == value


#: Values that are tree objects, or miss it by one thing.
nearly_treeobjs = st.recursive(
    st.one_of(
        strategies.treeobjs, st.none(), st.just(REF), st.lists(st.sampled_from([REF, "x", 1]), max_size=2)
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "ver": st.sampled_from([1, 1, 1, 0, True]),
            "type": st.sampled_from(["val", "valref", "dir", "dirref", "symlink", "other"]),
            "data": st.one_of(
                st.sampled_from(["MQ==", "M", ""]),
                st.dictionaries(
                    st.sampled_from(["a", "", "x.y", "target"]), inner | st.just("k"), max_size=2
                ),
                inner,
            ),
            "size": st.sampled_from([0, -1]),
        },
    ),
    max_leaves=4,
)


def well_formed(value: Any) -> bool:
    """RFC 11 in one expression a type."""
    if not isinstance(value, dict) or not {"ver", "type", "data"} <= set(value):
        return False
    kind, data = value["type"], value["data"]
    allowed = {"ver", "type", "data"} | ({"size"} if kind in ("val", "valref") else set())
    if not set(value) <= allowed or value["ver"] is True or value["ver"] != 1 or value.get("size", 0) < 0:
        return False
    refs = isinstance(data, list) and all(
        isinstance(ref, str) and re.fullmatch("sha1-[0-9a-f]{40}", ref) for ref in data
    )
    return {
        "val": lambda: isinstance(data, str) and re.fullmatch(r"(....)*(..==|...=)?", data) is not None,
        "valref": lambda: refs and len(data) > 0,
        "dirref": lambda: refs and len(data) == 1,
        "dir": lambda: isinstance(data, dict) and all(
            name and "." not in name and well_formed(entry) for name, entry in data.items()
        ),
        "symlink": lambda: isinstance(data, dict) and "target" in data and set(data) <= {"target", "namespace"}
        and all(isinstance(text, str) and text for text in data.values()),
    }.get(kind, lambda: False)()  # fmt: skip


@given(nearly_treeobjs)
def test_check_accepts_what_RFC_11_does_and_refuses_the_rest(value: Any) -> None:
    if well_formed(value):
        assert treeobj.check(value) is value
    else:
        with pytest.raises(RequestError, match=r"^treeobj"):
            treeobj.check(value)


def nested(depth: int) -> treeobj.TreeObj:
    value = treeobj.val(b"deep")
    for _ in range(depth):
        value = treeobj.directory({"d": value})
    return value


def test_directories_nested_to_the_bound_pass_and_deeper_ones_are_refused_without_recursion() -> None:
    assert treeobj.check(nested(treeobj.MAX_DEPTH))
    for depth in (treeobj.MAX_DEPTH + 1, 100_000):
        with pytest.raises(RequestError, match=f"directories are nested deeper than {treeobj.MAX_DEPTH}$"):
            treeobj.check(nested(depth))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"data":{},"type":"dir","ver":1}\0'])
def test_stored_bytes_that_are_no_JSON_are_EPROTO(data: bytes) -> None:
    with pytest.raises(RequestError, match=f"^treeobj: {len(data)} bytes that are not JSON$") as caught:
        treeobj.decode(data)
    assert caught.value.errno == EPROTO


@pytest.mark.parametrize("name", ["\ud800", object()])
def test_an_object_JSON_cannot_carry_is_EPROTO(name: Any) -> None:
    with pytest.raises(RequestError, match=r"^treeobj cannot be stored as JSON: ") as caught:
        treeobj.encode(treeobj.directory({"a": name}))
    assert caught.value.errno == EPROTO


def test_only_a_val_holds_bytes_of_its_own() -> None:
    with pytest.raises(RequestError, match="a dirref holds no value of its own") as caught:
        treeobj.val_bytes(treeobj.dirref(REF))
    assert caught.value.errno == EINVAL
    with pytest.raises(RequestError, match="must be base64 text") as caught:
        treeobj.val_bytes(obj("val", "???"))
    assert caught.value.errno == EPROTO
