"""`brokersim check` of several runs: under several seeds, here and as elements of an array job, told the same."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Run
from tests.cli.engines import Engine

#: A command that fails the third time it is run.
THIRD = ("--", "sh", "-c", "echo >> calls; test $(wc -l < calls) -ne 3")
PLAIN = ("check", "-m", "none")
TRUE = ("--", "true")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "a folder {0}"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


def calls() -> int:
    path = Path("calls")
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_each_seed_has_its_runs_and_the_one_that_is_not_well_is_told(run: Run) -> None:
    done = run(*PLAIN, "--seeds", "4-5", "--runs", "2", "--junit", "all.xml", *THIRD)
    assert (done.code, calls()) == (1, 4)
    assert done.out == ("seed 5, run 1 (the command ended with 1):\n  ✓ 10 laws kept\n✗ 3 of 4 runs well\n")
    suites = ElementTree.parse("all.xml").getroot()
    assert (suites.tag, suites.get("tests"), suites.get("failures")) == ("testsuites", "44", "1")
    assert [one.get("name") for one in suites] == [
        f"brokersim check, seed {seed}, run {number}" for seed in (4, 5) for number in (1, 2)
    ]


def test_several_runs_in_json_are_one_document_about_the_first_that_is_not_well(run: Run) -> None:
    told = run(*PLAIN, "--seeds", "4-6", "--json", *THIRD).json
    assert (told["command_exit"], told["settings"]["seed"]) == (1, 6)
    assert [(one["seed"], one["run"], one["command_exit"]) for one in told["runs"]] == [
        (4, 1, 0), (5, 1, 0), (6, 1, 1),
    ]  # fmt: skip
    assert "runs" not in run(*PLAIN, "--json", *TRUE).json


def test_nagios_gets_one_line_of_several_runs(run: Run) -> None:
    done = run(*PLAIN, "--seeds", "0-2", "--nagios", *THIRD)
    assert (done.code, done.out) == (
        3,
        "BROKERSIM UNKNOWN - 2 of 3 runs well, seed 2, run 1, the command ended with 1, 0 counters and 10 laws well\n",
    )


def test_a_baseline_of_several_seeds_is_given_up_at_the_first_run_that_is_not_well(run: Run) -> None:
    done = run(*PLAIN, "--seeds", "0-9", "--record", "kept.toml", *THIRD)
    assert (done.code, calls(), Path("kept.toml").exists()) == (1, 3, False)
    assert "the command ended with 1: no baseline is written" in done.err


def test_runs_are_an_array_that_tells_what_the_runs_here_tell(
    run: Run, engine: Engine, measured: list[tuple[int, int]]
) -> None:
    asked = (*PLAIN, "--seeds", "0-5", "--record", "kept.toml")
    engine.says("sbatch", "5\n")
    done = run(
        *asked,
        "--junit",
        "all.xml",
        "--launcher",
        "slurm",
        "--submit",
        "--tasks",
        "2",
        "--timeout",
        "9s",
        *TRUE,
    )
    assert (done.code, done.out, measured) == (0, "submitted job 5: 2 elements\n", [(6, 2)]), done.err
    asked_again = (
        "brokersim check --timeout 9s --record kept.toml --seeds 0-5 --junit all.xml --modules none -- true"
    )
    assert f"when it has run: {asked_again}" in done.err
    script = subprocess.run(
        ["sh", "kept.toml.sh"],
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"},
        capture_output=True,
        text=True,
    )
    assert (script.returncode, script.stderr) == (0, "kept.toml.1of2: 3 of 6 runs\n")
    engine.says("squeue", "5_0 RUNNING\n5_1 PENDING\n")
    early = run(*asked, *TRUE)
    assert (early.code, early.out) == (1, "") and "1 of 2 elements done, job 5 is running" in early.err
    element = run(*asked, "--shard", "0/2", *TRUE)
    assert (element.code, element.out) == (0, "") and "3 of 6 runs" in element.err
    assert not Path("kept.toml").exists()
    whole = run(*asked, *TRUE)
    assert whole.code == 0, whole.err
    assert whole.out.endswith("✓ 6 of 6 runs well\n") and "baseline written: kept.toml" in whole.err
    assert tomllib.loads(Path("kept.toml").read_text())["run"]["seed"] == 0
    assert [one.name for one in Path().iterdir()] == ["kept.toml"]
    again = run(*asked[:-1], "again.toml", *TRUE)
    assert Path("again.toml").read_bytes() == Path("kept.toml").read_bytes(), again.err


def test_an_element_that_was_lost_is_named_and_only_it_is_run_again(
    run: Run, engine: Engine, measured: list
) -> None:
    asked = (*PLAIN, "--seeds", "0-3", "--parts", "laws")
    engine.says("flux", "f1\nf2\nf3\n")
    assert run(*asked, "--launcher", "flux", "--submit", *THIRD).code == 0
    for at in (0, 2):
        assert run(*asked, "--shard", f"{at}/3", *THIRD).code == 0
    engine.says("flux", "1 INACTIVE CANCELED\n")
    lost = run(*asked, *THIRD)
    assert lost.code == 1 and "2 of 3 elements done, element 1: cancelled" in lost.err
    assert "--parts laws --launcher flux --submit -- sh -c " in lost.err
    engine.says("flux", "f4\n")
    again = run(*asked, "--launcher", "flux", "--submit", *THIRD)
    assert again.out == "submitted job ƒ4: 1 element\n", again.err
    engine.says("flux", "3 SCHED\n")
    early = run(*asked, "--here", *THIRD)
    assert (early.code, calls()) == (1, 3) and "job ƒ4 is in the queue" in early.err
    engine.says("flux", "3 INACTIVE FAILED\n")
    here = run(*asked, "--here", *THIRD)
    assert (here.code, calls(), "✗ 3 of 4 runs well" in here.out) == (1, 4, True), here.err
    assert [one.name for one in Path().iterdir()] == ["calls"]


def test_what_is_left_of_an_array_that_was_given_up_counts_for_no_other(
    run: Run, engine: Engine, measured: list
) -> None:
    Path("laws.part").write_text("of modules as they were")
    done = run(*PLAIN, "--seeds", "0-2", "--parts", "laws", "--launcher", "slurm", *TRUE)
    assert done.code == 0 and "--array=0-1 " in done.out, done.err
    assert not Path("laws.part").exists()
    assert "--timeout" not in done.out


def test_elements_have_no_limit_where_none_was_given(run: Run, engine: Engine) -> None:
    asked = (*PLAIN, "--seeds", "0-2", "--parts", "laws", "--launcher", "slurm")
    endless = run(*asked, "--timeout", "infinity", *TRUE)
    assert endless.code == 0 and "--timeout" not in Path("laws.sh").read_text(), endless.err
    assert run(*asked, "--timeout", "9s", *TRUE).code == 0
    assert "--timeout 9s" in Path("laws.sh").read_text()


def test_a_launcher_needs_a_file_for_the_runs(run: Run, engine: Engine) -> None:
    for words in (("--launcher", "slurm"), ("--shard", "0/2")):
        done = run(*PLAIN, "--seeds", "0-2", *words, *TRUE)
        assert done.code == 2 and "needs a file beside which the runs are put" in done.err
        assert "--parts FILE" in done.err
    assert run(*PLAIN, "--parts", "x", "--shard", "2/2", *TRUE).code == 2
