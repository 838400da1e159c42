"""Tables of a run for other programs: what is written is read again as it was."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.keep.export import ExportError, parts, write_csv, write_jsonl, write_parquet
from brokersim.lab.result import Result

DOCUMENT: dict[str, Any] = {
    "meta": {"experiment": "states", "seed": 3, "plan": {"jobs": 2}},
    "runs": [
        {"form": "fixed", "wall_s": 1.5, "packets": 3, "marks": ["a", "b"], "none": None},
        {"form": 'a,"b"\nc', "wall_s": 2, "packets": 4, "marks": [], "none": None},
    ],
    "series": {"fixed": {"RUN": [[0.0, 1], [1.5, 2]]}},
    "truth": {"RUN": [[0.0, 1]]},
    "checks": [],
}


FOUND = Result.from_json(DOCUMENT)


def written(write: Any, rows: Any, found: Any = FOUND) -> bytes:
    file = io.BytesIO()
    write(rows, file, found)
    return file.getvalue()


def test_figures_come_first_of_an_experiment_and_samples_of_a_recording() -> None:
    assert list(parts(FOUND)) == ["figures", "series", "settings"]
    assert next(iter(parts(FOUND.with_meta(experiment="run")))) == "series"


def test_series_are_long_rows_with_the_truth_among_them() -> None:
    assert list(parts(FOUND)["series"]()) == [
        {"kind": "value", "series": "fixed.RUN", "t_s": 0.0, "value": 1.0},
        {"kind": "value", "series": "fixed.RUN", "t_s": 1.5, "value": 2.0},
        {"kind": "truth", "series": "RUN", "t_s": 0.0, "value": 1.0},
    ]


def test_csv_quotes_what_needs_it_and_has_nested_values_as_json() -> None:
    read = list(csv.DictReader(io.StringIO(written(write_csv, FOUND.runs).decode(), newline="")))
    assert read == [
        {"form": "fixed", "wall_s": "1.5", "packets": "3", "marks": '["a","b"]', "none": ""},
        {"form": 'a,"b"\nc', "wall_s": "2", "packets": "4", "marks": "[]", "none": ""},
    ]


def test_a_recording_without_samples_is_an_empty_table() -> None:
    empty = Result(meta={"experiment": "run"}, parts={"runs": [], "series": {}})
    assert list(parts(empty)) == ["series", "settings"]
    for write in (write_csv, write_jsonl):
        assert written(write, parts(empty)["series"](), empty) == b""


def test_json_lines_are_the_rows() -> None:
    assert [json.loads(line) for line in written(write_jsonl, FOUND.runs).splitlines()] == FOUND.runs


def test_parquet_has_typed_columns_and_the_runs_meta() -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="SKIPPING: no pyarrow, no Parquet is read")
    read = parquet.read_table(io.BytesIO(written(write_parquet, FOUND.runs)))
    assert {field.name: str(field.type) for field in read.schema} == {
        "form": "string", "wall_s": "double", "packets": "int64", "marks": "string", "none": "string",
    }  # fmt: skip
    assert read.column("wall_s").to_pylist() == [1.5, 2.0]
    assert read.column("marks").to_pylist() == ['["a","b"]', "[]"]
    assert json.loads(read.schema.metadata[b"brokersim"]) == FOUND.meta


@pytest.mark.parametrize(
    ("values", "type_", "read_as"),
    [
        ([1, None], "int64", [1, None]),
        ([None, None], "string", [None, None]),
        ([1, 0.5], "double", [1.0, 0.5]),
        ([2**63 - 1, -(2**63) + 1], "int64", [2**63 - 1, -(2**63) + 1]),
        ([2**63, 1], "double", [float(2**63), 1.0]),
        ([-(2**63), 1], "double", [-float(2**63), 1.0]),
        ([True, 1], "string", ["True", "1"]),
    ],
)
def test_a_column_is_as_wide_as_its_widest_value(values: list[Any], type_: str, read_as: list[Any]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="SKIPPING: no pyarrow, no Parquet is read")
    read = parquet.read_table(io.BytesIO(written(write_parquet, [{"x": value} for value in values])))
    assert (str(read.schema.field("x").type), read.column("x").to_pylist()) == (type_, read_as)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'brokersim\[parquet\]'"):
        written(write_parquet, FOUND.runs)


CELLS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()


@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), min_size=1, max_size=6))
def test_whatever_is_in_a_table_every_format_takes_it(rows: list[dict[str, Any]]) -> None:
    assert len([json.loads(line) for line in written(write_jsonl, rows).splitlines()]) == len(rows)
    assert len(list(csv.reader(io.StringIO(written(write_csv, rows).decode(), newline="")))) == len(rows) + 1
    parquet = pytest.importorskip("pyarrow.parquet", reason="SKIPPING: no pyarrow, no Parquet is read")
    assert parquet.read_table(io.BytesIO(written(write_parquet, rows))).num_rows == len(rows)
