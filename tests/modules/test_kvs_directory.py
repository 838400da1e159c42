"""Large directories: every version's bytes and name are what encoding it whole gives, however it came about."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.protocol import blobref, treeobj
from modules.kvs.directory import LARGE, Changes, Directory

# Few names and values, by number: drawing a hundred texts an example would take most of the test.
NAMES = [f"{number:x}" for number in range(0, 900, 3)] + ["", "ä", '"', "\u2028", "z\U0001f600"]
VALUES = [None, treeobj.val(b""), treeobj.val(b"longer"), treeobj.dirref(blobref.blobref(b"x"))]
sizes = st.integers(LARGE + 1, 4 * LARGE)
changes = st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=5), max_size=5)


def whole(model: dict[str, Any]) -> bytes:
    return treeobj.encode(treeobj.directory(model))


def check(directory: Directory, model: dict[str, Any]) -> None:
    raw = whole(model)
    assert bytes(directory.blob) == raw
    assert (directory.ref, len(directory.blob), len(directory)) == (
        blobref.blobref(raw),
        len(raw),
        len(model),
    )
    assert list(directory.to_dict().items()) == sorted(model.items())


@settings(max_examples=60, deadline=None)
@given(sizes, changes)
def test_each_version_is_what_encoding_it_whole_gives_and_its_patch_makes_it_of_the_one_before(
    size: int, steps: list[dict[str, Any]]
) -> None:
    model: dict[str, Any] = {name: VALUES[1 + at % 3] for at, name in enumerate(NAMES[:size])}
    directory = Directory.of(model)
    check(directory, model)
    for step in steps:
        before, raw = directory, bytes(directory.blob)
        found = directory.changed(step)
        model = {name: value for name, value in (model | step).items() if value is not None}
        if isinstance(found, dict):
            assert (found, len(found) <= LARGE) == (model, True)
            return
        directory = found
        check(directory, model)
        assert bytes(before.blob) == raw, "a version never changes"
        patch = directory.blob.patch
        if patch is not None and directory is not before:
            changed = bytearray(raw)
            patch.apply(changed)
            assert (patch.base, bytes(changed)) == (before.blob.digest, bytes(directory.blob))
        for name in step:
            assert directory.get(name) == model.get(name)


def test_a_new_last_name_costs_a_patch_of_its_own_size_and_no_more_runs_than_needed() -> None:
    model = {f"{number:04x}": treeobj.dirref(blobref.blobref(b"%d" % number)) for number in range(2000)}
    directory = Directory.of(model)
    added = {"07d0": treeobj.dirref(blobref.blobref(b"new"))}
    grown = directory.changed(added)
    assert isinstance(grown, Directory)
    patch = grown.blob.patch
    assert patch is not None
    assert (patch.removed, patch.inserted) == (0, b"," + treeobj.encode(added)[1:-1])
    for number in range(2001, 3000):
        step = grown.changed({f"{number:04x}": added["07d0"]})
        assert isinstance(step, Directory)
        grown = step
    assert len(grown._runs) < 3000 / 64 * 1.6


def test_changes_read_like_a_dict_over_the_version_they_are_made_to() -> None:
    model = {f"{number:03}": treeobj.val(b"%d" % number) for number in range(100)}
    base = Directory.of(model)
    over = Changes(base)
    assert over.made() is base
    over["050"] = new = treeobj.val(b"new")
    over.pop("051", None)
    over.pop("nosuch", None)
    assert (over.get("050"), over.get("051"), over.get("052"), over.get("x")) == (
        new,
        None,
        model["052"],
        None,
    )
    made = over.made()
    assert isinstance(made, Directory)
    check(made, {name: value for name, value in (model | {"050": new}).items() if name != "051"})
