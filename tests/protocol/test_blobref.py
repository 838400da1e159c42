"""Blobrefs are upstream's, name one blob each, and nothing else passes for one."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.blobref import Hunk, Patch, blobref, digest, from_digest, is_blobref

HELLO = "sha1-f572d396fae9206628714fb2ce00f72e94f2258f"


def test_the_blob_of_a_captured_content_store_has_upstreams_name() -> None:
    assert blobref(b"hello\n") == HELLO
    assert digest(HELLO).hex() == HELLO[5:]
    assert from_digest(digest(HELLO)) == HELLO


@given(st.binary())
def test_a_blobref_is_the_sha1_of_the_bytes_and_turns_to_its_digest_and_back(data: bytes) -> None:
    ref = blobref(data)
    assert ref == "sha1-" + hashlib.new("sha1", data).hexdigest()
    assert is_blobref(ref)
    assert digest(ref) == hashlib.new("sha1", data).digest()
    assert from_digest(digest(ref)) == ref


BAD = [
    "",
    "sha1-",
    HELLO[:-1],
    HELLO + "0",
    HELLO.upper(),
    HELLO.replace("f", "F"),
    HELLO.replace("sha1", "sha2"),
    HELLO[:-1] + "g",
    HELLO[:-1] + "\n",
    HELLO[:-1] + "\u0661",
    HELLO[5:],
    " " + HELLO[:-1],
]


@pytest.mark.parametrize("text", BAD)
def test_near_misses_are_no_blobrefs_and_the_error_says_what_would_be(text: str) -> None:
    assert not is_blobref(text)
    with pytest.raises(
        ValueError, match=r"^not a blobref: .*; it must be 'sha1-' and 40 lower-case hex digits$"
    ):
        digest(text)


@given(st.text("sha1-0123456789abcdefABCDEF\n", min_size=40, max_size=48) | st.text())
def test_what_passes_for_a_blobref_is_exactly_the_pattern(text: str) -> None:
    assert is_blobref(text) == (re.fullmatch(r"sha1-[0-9a-f]{40}", text) is not None)


@pytest.mark.parametrize("value", [None, 1, b"sha1-", [HELLO], {HELLO: 1}])
def test_values_that_are_no_text_are_no_blobrefs(value: object) -> None:
    assert not is_blobref(value)


def test_a_long_text_is_cut_in_the_error() -> None:
    with pytest.raises(ValueError) as caught:
        digest("x" * 10**6)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("size", [0, 19, 21, 40])
def test_a_digest_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"has 20 bytes, not {size}"):
        from_digest(bytes(size))


HUNKS: list[Hunk] = [(0, 2, b"new"), (5, 0, b""), (7, 1, b"x" * 30)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_patch_holds_its_differences_and_makes_the_other_of_the_base(count: int) -> None:
    patch = Patch.of(bytes(20), HUNKS[:count])
    assert patch.hunks == HUNKS[:count]
    data = bytearray(b"0123456789")
    patch.apply(data)
    assert data == [b"new23456789", b"new23456789", b"new23456" + b"x" * 30 + b"89"][count - 1]


def test_a_patch_that_is_cut_off_anywhere_is_refused() -> None:
    whole = Patch.of(bytes(20), HUNKS)
    ends = [24 + 3, 48 + 3, len(whole.inserted)]  # where one difference is complete
    for size in range(1, len(whole.inserted)):
        if size not in ends:
            with pytest.raises(ValueError, match="a difference is cut off"):
                _ = whole._replace(inserted=whole.inserted[:size]).hunks
