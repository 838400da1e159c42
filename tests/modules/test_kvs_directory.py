"""Large directories: every version's bytes and name are what encoding it whole gives, however it came about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.protocol import blobref, treeobj
from modules.kvs import directory as directory_file
from modules.kvs.directory import LARGE, Changes, Directory
from tests.effort import examples

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


def follow(size: int, steps: list[dict[str, Any]]) -> None:
    """Each version is what encoding it whole gives, and its patch makes it of the one before."""
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
        if directory is not before:
            patch = directory.blob.patch
            assert patch is not None
            changed = bytearray(raw)
            patch.apply(changed)
            assert (patch.base, bytes(changed)) == (before.blob.digest, bytes(directory.blob))
        for name in step:
            assert directory.get(name) == model.get(name)


@settings(max_examples=examples(60), deadline=None)
@given(sizes, changes)
def test_each_version_is_what_encoding_it_whole_gives_and_its_patch_makes_it_of_the_one_before(
    size: int, steps: list[dict[str, Any]]
) -> None:
    follow(size, steps)


#: So that a hundred entries have what a million have: runs of a few entries, groups of a few runs.
SHORT = {"_FULL_RUN": 4, "_CUT_RUN": 3, "_FULL_GROUP": 3, "_CUT_GROUP": 2, "_NEAR": 1}
several = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), min_size=1, max_size=4),
        # Neighbours, all gone: runs and groups that have nothing left, in front, in the midst and behind.
        st.builds(
            lambda at, count: dict.fromkeys(sorted(NAMES)[at : at + count]),
            st.integers(0, len(NAMES)),
            st.integers(1, 20),
        ),
    ),
    max_size=6,
)


@settings(max_examples=examples(80), deadline=None)
@given(sizes, several)
def test_the_same_with_runs_and_groups_that_split_and_vanish_all_the_time(
    size: int, steps: list[dict[str, Any]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, short in SHORT.items():
            patch.setattr(directory_file, name, short)
        follow(size, steps)


def test_one_new_entry_of_many_is_all_that_is_encoded_and_one_run_and_one_group_all_that_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = treeobj.val(b"1")
    directory = Directory.of({f"{number:06}": value for number in range(20_000)})
    made: dict[str, int] = {"_part": 0, "_Run": 0, "_Group": 0}

    def counted(name: str) -> Any:
        real = getattr(directory_file, name)

        def make(*args: Any) -> Any:
            made[name] += 1
            return real(*args)

        return make

    for name in made:
        monkeypatch.setattr(directory_file, name, counted(name))
    hashed = Hashed(monkeypatch)
    grown = directory.changed({"020000": value})
    assert isinstance(grown, Directory)
    again = grown.changed({"020001": value})
    assert isinstance(again, Directory)
    assert made == {"_part": 2, "_Run": 2, "_Group": 2}
    assert hashed.whole == 0, "the state of the hash is taken up, not made anew"
    assert len(again._near[1]) <= 128


def test_a_version_keeps_states_of_the_hash_to_a_little_behind_its_change_and_the_next_takes_one_up() -> None:
    value, other = treeobj.val(b"1"), treeobj.val(b"2")
    model = {f"{number:06}": value for number in range(2_000)}
    directory = Directory.of(model)
    runs = len(directory._groups[0].runs)
    for name in ("000900", "000200", "001500", "001900", "000000"):
        model[name] = other
        made = directory.changed({name: other})
        assert isinstance(made, Directory)
        at = made._groups[0].at(name)
        assert len(made._near[1]) == min(at + directory_file._NEAR + 1, runs)
        check(made, model)
        directory = made


class Hashed:
    """Counts hashes that begin at the first byte of a directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.whole = 0
        real = directory_file.sha1

        def sha1(*args: Any) -> Any:
            self.whole += 1
            return real(*args)

        monkeypatch.setattr(directory_file, "sha1", sha1)


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
    assert sum(len(group.runs) for group in grown._groups) < 3000 / 64 * 1.6


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


def test_entries_far_from_each_other_are_differences_of_their_own_not_one_over_all_between() -> None:
    """A commit of the first and the last name of a folder would otherwise keep all of it anew."""
    value, new = treeobj.val(b"1"), treeobj.val(b"2")
    directory = Directory.of({f"{number:06}": value for number in range(20_000)})
    changed = directory.changed({"000000": new, "010000": new, "019999": new})
    assert isinstance(changed, Directory)
    patch = changed.blob.patch
    assert patch is not None
    assert (len(patch.hunks), len(patch.inserted) < 200) == (3, True)
    data = bytearray(bytes(directory.blob))
    patch.apply(data)
    assert bytes(data) == bytes(changed.blob)


def test_short_entries_are_kept_decoded_and_long_ones_are_not() -> None:
    long = treeobj.valref([blobref.blobref(b"%d" % number) for number in range(9)])
    made = Directory.of({**{name: treeobj.val(b"") for name in NAMES[: LARGE + 1]}, "long": long})
    assert made.get(NAMES[3]) is made.get(NAMES[3])
    assert made.get("long") == long
    assert made.get("long") is not made.get("long"), (
        "a log of a thousand lines would be kept a thousand times"
    )
