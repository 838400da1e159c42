"""Runs from the command line: made by an experiment, found, shown, compared, exported, removed."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

from brokersim.lab.experiments.decay import Plan, decay
from brokersim.statsd_server.outputs.rundb import RunDatabase
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def results() -> dict[str, bytes]:
    return {
        name: msgspec.json.encode(decay(Plan(jobs=jobs, blocks=2)).to_json())
        for name, jobs in (("before", 4), ("after", 6))
    }


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two results in folders, a recording, and things that are no runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BROKERSIM_RUNS", raising=False)
    for name, result in results.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "result.json").write_bytes(result)
    recording = RunDatabase(tmp_path / "run.db", {"command": "brokersim stats serve"})
    recording.add("value", "flux.kvs.0.request_rx", [(10.0, 1), (11.0, 4)])
    recording.close()
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "broken.json").write_text('{"meta": ')
    (tmp_path / "other.db").write_bytes(b"no database")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "result.json").write_text('{"meta": {"experiment": "states"}}')
    return tmp_path


def test_what_an_experiment_keeps_is_a_run(tmp_path: Path, run: Run) -> None:
    run("bench", "decay", "--jobs", "2", "--blocks", "2", "--out", str(tmp_path / "mine"), "--plot", "none")
    (found,) = run("runs", "list", "--dir", str(tmp_path), "--json").json
    assert (found["id"], found["experiment"], found["clock"], found["seed"]) == (
        "mine",
        "decay",
        "virtual",
        0,
    )


def test_runs_are_found_below_the_folder_under_their_paths(folder: Path, run: Run) -> None:
    found = {one["id"]: one for one in run("runs", "list", "--json").json}
    assert set(found) == {"runs/before", "runs/after", "run.db"}
    assert found["runs/after"]["agree"] == "3 of 3"
    assert (found["run.db"]["experiment"], found["run.db"]["kind"], found["run.db"]["rows"]) == (
        "run",
        "database",
        2,
    )
    table = run("runs", "list", "--tsv", "-n").out.splitlines()
    assert sorted(line.split("\t")[0] for line in table) == sorted(found)


def test_the_newest_run_comes_first(folder: Path, run: Run) -> None:
    os.utime(folder / "runs/before/result.json", (2e9, 2e9))
    assert run("runs", "list", "--json").json[0]["id"] == "runs/before"


def test_a_folder_without_runs_says_how_to_make_one(tmp_path: Path, run: Run) -> None:
    done = run("runs", "list", "--dir", str(tmp_path))
    assert (done.code, done.out.strip()) == (0, "ID  Experiment  Clock  Seed  Rows  Agree  Bytes  Written")
    assert "no runs in" in done.err
    assert "brokersim bench states --out" in done.err
    assert run("runs", "list", "--dir", str(tmp_path / "never")).code == 2


def test_the_folder_may_be_in_the_environment(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERSIM_RUNS", str(folder / "runs"))
    assert {one["id"] for one in run("runs", "list", "--json").json} == {"before", "after"}
    assert run("runs", "show", "before", "--json").json["meta"]["experiment"] == "decay"


@pytest.mark.parametrize("name", ["runs/before", "before", "runs/before/result.json"])
def test_a_run_is_shown_by_its_id_a_part_of_it_or_its_path(folder: Path, run: Run, name: str) -> None:
    found = run("runs", "show", name, "--json").json
    assert found["meta"]["plan"]["jobs"] == 4
    assert "series" not in found
    text = run("runs", "show", name)
    assert "jobs: 4" in text.out
    assert "✓" in text.out
    assert "not of Flux" in text.err


def test_a_name_that_no_run_or_several_have_is_told_with_those_there_are(folder: Path, run: Run) -> None:
    done = run("runs", "show", "never")
    assert done.code == 2
    assert done.err.splitlines()[0].startswith("error: no run 'never'; there are: ")
    done = run("runs", "show", "runs/")
    assert done.code == 2
    assert "may be any of: " in done.err


def test_a_recording_is_exported_sample_by_sample(folder: Path, run: Run) -> None:
    read = list(csv.DictReader(io.StringIO(run("runs", "export", "run.db").out)))
    assert read == [
        {"kind": "value", "series": "flux.kvs.0.request_rx", "t_s": "0.0", "value": "1.0"},
        {"kind": "value", "series": "flux.kvs.0.request_rx", "t_s": "1.0", "value": "4.0"},
    ]


def test_the_format_follows_the_files_name_and_the_part_may_be_chosen(folder: Path, run: Run) -> None:
    done = run("runs", "export", "before", "--what", "checks", "-o", "checks.jsonl", "--json")
    assert done.json == {
        "file": "checks.jsonl", "what": "checks", "format": "jsonl", "rows": 3,
        "bytes": (folder / "checks.jsonl").stat().st_size,
    }  # fmt: skip
    assert all(json.loads(line)["ok"] for line in (folder / "checks.jsonl").read_text().splitlines())
    wrong = run("runs", "export", "before", "--what", "timers")
    assert wrong.code == 2
    assert "has no 'timers'; it has figures" in wrong.err


def test_parquet_goes_to_a_file(folder: Path, run: Run) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="SKIPPING: no pyarrow, no Parquet is read")
    assert run("runs", "export", "before", "-o", "before.parquet").code == 0
    assert parquet.read_table(folder / "before.parquet").num_rows == 6


def test_an_export_that_fails_leaves_no_file(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    before = set(folder.iterdir())
    done = run("runs", "export", "before", "-o", "before.parquet")
    assert done.code == 1
    assert "pip install 'brokersim[parquet]'" in done.err
    assert set(folder.iterdir()) == before


def test_two_runs_are_compared_in_a_page_and_the_gate_sets_the_exit_code(folder: Path, run: Run) -> None:
    done = run("report", "after", "--compare", "before", "-o", "page.html")
    assert done.code == 0
    assert "figures differ by more than" in done.err
    assert "Compared with the base" in (folder / "page.html").read_text()
    assert run("report", "after", "--compare", "before", "--format", "json", "--gate").code == 1
    assert run("report", "after", "--compare", "after", "--format", "json", "--gate").code == 0
    wide = run("report", "after", "--compare", "before", "--format", "md", "--gate", "--tolerance", "1000%")
    assert wide.code == 0
    assert "| jobs | 4 | 6 |" in wide.out


def test_a_gate_without_a_base_and_two_experiments_are_refused(folder: Path, run: Run) -> None:
    assert run("report", "after", "--gate").code == 2
    done = run("report", "after", "--compare", "run.db")
    assert done.code == 2
    assert "'decay' and 'run' cannot be compared" in done.err
    assert run("report", "after", "--compare", "before", "--tolerance", "much").code == 2


@pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_pictures_for_slides_go_into_a_folder(folder: Path, run: Run, form: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    done = run("report", "after", "--format", form, "-o", "slides", "--json")
    assert done.json["page"] == f"slides/decay.{form}"
    assert (folder / "slides" / f"decay.{form}").read_bytes().startswith(start)


def test_removing_takes_the_result_and_its_page_and_nothing_else(folder: Path, run: Run) -> None:
    (folder / "runs/before/index.html").write_text("page")
    (folder / "runs/before/notes.txt").write_text("mine")
    told = run("runs", "rm", "--dry-run", "runs/before").out.splitlines()
    assert told == ["runs/before/result.json", "runs/before/index.html"]
    assert run("runs", "rm", "runs/before").out.splitlines() == told
    assert [one.name for one in (folder / "runs/before").iterdir()] == ["notes.txt"]
    assert run("runs", "rm", "runs/after", "run.db", "--json").json["removed"] == [
        "runs/after/result.json",
        "run.db",
    ]
    assert not (folder / "runs/after").exists()


def test_an_id_that_is_none_removes_nothing(folder: Path, run: Run) -> None:
    assert run("runs", "rm", "runs/after", "other.json").code == 1
    assert (folder / "runs/after/result.json").exists()
    assert (folder / "other.json").exists()
