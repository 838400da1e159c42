"""The long benchmarks, as short as they go: what they change and what they count."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

import brokersim
from benchmarks import mutants_src
from benchmarks.mutants_src import places
from benchmarks.soak import Row, growth, soak

SOURCE = """
def f(a, b):
    if a < b and b:
        return a
    while a == b:
        a += 1 if a >= 3 else 2
    return a is b
"""


def test_each_mutant_of_a_decision_or_bound_changes_one_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants_src, "SOURCE", tmp_path)
    (tmp_path / "x.py").write_text(SOURCE)
    found = list(places(tmp_path / "x.py"))
    assert Counter(place.what for place in found) == {
        "condition negated": 3, "guard left out": 1, "bound moved": 2, "equality turned": 1, "and for or": 1,
    }  # fmt: skip
    sources = {place.source() for place in found}
    assert len(sources) == len(found) and ast.unparse(ast.parse(SOURCE)) not in sources
    assert "if False:\n        return a" in next(
        place.source() for place in found if place.what == "guard left out"
    )
    assert {place.room for place in found} == {"(top)"}


def test_the_soak_does_all_of_its_work_and_leaves_nothing_open():
    rows: list[Row] = []
    brokersim.run(soak, rows, 0.5, 12, 0.0)
    assert len(rows) == 12
    assert [row.descriptors for row in rows] == [rows[0].descriptors] * 12
    assert max(row.open_requests for row in rows) <= 2
    assert rows[-1].at == pytest.approx(0.5, abs=0.02)
    assert rows[-1].messages > rows[0].messages


def test_growth_compares_the_last_quarter_with_the_second():
    rows = [Row(at=n, rss=rss, descriptors=5, objects=0, open_requests=0, messages=0)
            for n, rss in enumerate([9, 9, 9, 10, 10, 10, 10, 10, 10, 11, 11, 11])]  # fmt: skip
    assert (growth(rows, "rss"), growth(rows, "descriptors"), growth(rows, "objects")) == (10.0, 0.0, 0.0)
