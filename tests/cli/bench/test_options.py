"""What all experiments share on the command line: kept, compared, gated, repeated, handed over, and the book."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import Run

DECAY = ("bench", "decay", "--jobs", "4", "--blocks", "2")


def test_a_result_kept_in_a_database_is_a_baseline_without_a_difference(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "run.db"
    assert run(*DECAY, "--db", str(kept)).code == 0
    again = run(*DECAY, "--baseline", str(kept), "--gate")
    assert again.code == 0
    assert f"against {kept}: no difference" in again.out


def test_the_gate_is_not_passed_by_a_result_that_got_worse(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "result.json"
    found = run(*DECAY, "--json").json
    for row in found["runs"]:
        row["wall_s"] *= 0.9
    kept.write_bytes(msgspec.json.encode(found))
    done = run(*DECAY, "--baseline", str(kept))
    assert done.code == 0
    assert "wall_s" in done.out
    gated = run(*DECAY, "--baseline", str(kept), "--gate")
    assert gated.code == 1
    assert "worse than the baseline" in gated.err
    told = run(*DECAY, "--baseline", str(kept), "--json").json["differences"]
    assert {one["is_worse"] for one in told} == {True}


def test_without_a_baseline_the_gate_asks_for_the_checks(run: Run) -> None:
    # Without factor nothing falls, so the models' checks do not agree.
    done = run(*DECAY, "--factor", "1", "--gate")
    assert done.code == 1
    assert "do not agree: J8 (linear), J8 (store)" in done.err
    assert run("bench", "period", "--jobs", "4", "--fix", "totals", "--gate").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--baseline", "{tmp}/none.db"), "none.db: No such file"),
        (("--baseline", "{tmp}/other.json"), "the baseline is of idle, not of decay"),
        (("--baseline", "{tmp}/empty"), "neither a run database nor a result"),
        (("--db", "{tmp}/empty"), "exists: a run database holds one run"),
        (("--launcher", "flux"), "needs --db RUN.db or --out DIR"),
        (("--full", "--preset", "small"), "give one of --full and --preset small"),
        (("--clock", "real"), "decay has a meaning under the virtual clock only"),
        (("--reps", "0"), "0 is no whole number of"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(
    words: tuple[str, ...], told: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "other.json").write_text('{"meta": {"experiment": "idle", "clock": "virtual"}, "runs": []}')
    done = run(*DECAY, *(word.format(tmp=tmp_path) for word in words))
    assert done.code == 2
    assert told in done.err
    assert len(done.err.strip().splitlines()) <= 3


def test_jobs_mean_nothing_at_rest_and_that_is_said(run: Run) -> None:
    done = run("bench", "idle", "--jobs", "5")
    assert done.code == 2
    assert "bench idle has no --jobs: it submits none" in done.err


def test_repetitions_are_in_the_result(run: Run) -> None:
    found = run(*DECAY, "--reps", "2", "--json").json
    assert len(found["repetitions"]) == 2
    assert all("2 runs agree" in check["ours"] for check in found["checks"])


def test_an_engine_gets_the_command_as_it_was_given_but_for_the_launcher(run: Run, tmp_path: Path) -> None:
    kept = str(tmp_path / "run.db")
    done = run(*DECAY, "--seed", "3", "--gate", "--db", kept, "--launcher", "flux")
    assert done.code == 0
    words = done.out.split()
    assert words[:2] == ["flux", "submit"]
    assert words[words.index("-m") :] == [
        "-m", "brokersim", "bench", "decay", "--blocks", "2", "--jobs", "4", "--seed", "3", "--db", kept, "--gate",
    ]  # fmt: skip
    assert not Path(kept).exists()
    assert run(*DECAY, "--db", kept, "--launcher", "slurm").out.startswith("sbatch ")


def test_a_stub_of_the_engine_is_called_and_its_answer_is_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "sbatch"
    stub.write_text('#!/bin/sh\necho "Submitted batch job 7"\nprintf "%s\\n" "$@" > "$0.args"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = run(*DECAY, "--db", str(tmp_path / "run.db"), "--launcher", "slurm", "--submit")
    assert (done.code, done.out) == (0, "Submitted batch job 7\n")
    assert "brokersim bench decay" in (tmp_path / "sbatch.args").read_text()


# -- the book


def test_the_book_lists_its_chapters_and_what_they_cover(run: Run) -> None:
    listed = run("bench", "journal", "--list", "--json").json
    assert {"experiment": "resolution", "covers": ["J16", "J17", "J18"]} in listed
    assert len(listed) == 11


def test_the_book_is_one_page_and_a_result_a_chapter(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("bench", "journal", "decay", "period", "--jobs", "4", "--out", str(tmp_path))
    assert done.code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"decay.json", "period.json", "index.html"}
    page = (tmp_path / "index.html").read_text()
    assert "decay" in page
    assert "period" in page
    assert f"book: {tmp_path / 'index.html'}" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give --all or names of experiments"),
        (("--all", "idle"), "not both"),
        (("sleep",), "no experiment 'sleep'; there are watchers"),
    ],
)
def test_a_book_of_nothing_is_refused(words: tuple[str, ...], told: str, run: Run) -> None:
    done = run("bench", "journal", *words)
    assert done.code == 2
    assert told in done.err
