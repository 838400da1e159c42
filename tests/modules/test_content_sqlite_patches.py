"""Differences applied to a large blob piece by piece come to what they do to all of it at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.protocol.blobref import Patch
from modules.content_sqlite import patches as patches_file
from modules.content_sqlite.patches import patched
from tests.effort import examples

PIECE = 8
steps = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 40), st.binary(max_size=20)), max_size=20)


@settings(max_examples=examples(200))
@given(st.binary(max_size=100), steps)
def test_pieces_come_to_the_same_as_the_whole(whole, steps):
    before, patches_file._PIECE = patches_file._PIECE, PIECE
    try:
        model, patches = bytearray(whole), []
        for offset, removed, inserted in steps:
            patches.append(Patch(b"", min(offset, len(model)), removed, inserted))
            patches[-1].apply(model)
        assert patched(whole, patches) == bytes(model)
    finally:
        patches_file._PIECE = before


@given(
    st.binary(max_size=100),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.binary(max_size=9)), min_size=1),
)
def test_several_differences_in_one_are_what_they_are_from_the_last_to_the_first(whole, gaps):
    before, patches_file._PIECE = patches_file._PIECE, PIECE
    try:
        hunks, at = [], 0
        for gap, removed, inserted in gaps:
            hunks.append((at + gap, removed, inserted))
            at += gap + removed
        patch, model = Patch.of(b"base", hunks), bytearray(whole)
        assert patch.hunks == hunks
        patch.apply(model)
        assert patched(whole, [patch]) == bytes(model)
    finally:
        patches_file._PIECE = before


def test_a_difference_that_is_cut_off_is_said_to_be():
    patch = Patch.of(b"base", [(0, 1, b"a"), (2, 1, b"b")])
    for missing in (1, 20):  # of what is inserted, and of where
        with pytest.raises(ValueError, match="cut off"):
            patched(b"abc", [patch._replace(inserted=patch.inserted[:-missing])])


def test_a_change_in_front_moves_its_own_piece_only():
    """Thousands of them over 50 MB would otherwise move 50 MB each."""
    size = 4 * patches_file._PIECE
    assert patched(bytes(size), [Patch(b"", 0, 0, b"abc")] * 2) == b"abcabc" + bytes(size)
