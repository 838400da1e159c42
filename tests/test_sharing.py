"""Tests go to workers by file, or by the group they name; the dearest files begin."""

from __future__ import annotations

from pathlib import Path

from tests.sharing import FIRST, ByFile, rank

TESTS = Path(__file__).parent


def test_tests_of_a_file_stay_together_and_so_do_those_of_a_group():
    scope = ByFile._split_scope
    by_file = object.__new__(ByFile)
    assert scope(by_file, "tests/net/test_serve.py::test_a[x::y@z]") == "tests/net/test_serve.py"
    assert scope(by_file, "tests/interop/test_peers.py::test_a[x]@peers") == "peers"


def test_the_dearest_files_are_there_and_the_rest_keep_their_order_behind_them():
    assert [name for name in FIRST if not (TESTS.parent / name).exists()] == []
    assert [rank(f"{name}::test_a") for name in FIRST] == [*range(len(FIRST))]
    assert rank("tests/test_sharing.py::test_a") == len(FIRST)
