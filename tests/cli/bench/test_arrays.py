"""Array jobs told truly: too early, cancelled, out of time, half gathered; engines are played by scripts on PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from brokersim.lab.sweep import arrays
from brokersim.lab.sweep.sweep import RunFile
from tests.cli.conftest import Run
from tests.cli.engines import Engine

PLAN = """
[sweep]
workloads = ["bulk"]
jobs = 4
draws = 1
points = 5
[grid]
emission = ["prepare", "timer:0.5s"]
period = ["0"]
style = ["totals"]
flush = ["1s"]
retention = [1, "10s"]
[overhead]
jobs = 2
"""


@pytest.fixture
def work(tmp_path: Path, engine: Engine, measured: object) -> tuple[str, ...]:
    folder = tmp_path / "a folder {0} {cc}"
    folder.mkdir()
    (folder / "plan.toml").write_text(PLAN)
    return ("bench", "intervals", str(folder / "plan.toml"), "--db", str(folder / "run.db"), "--workers", "1")


def database(work: tuple[str, ...]) -> Path:
    return Path(work[4])


def gathering(work: tuple[str, ...]) -> tuple[str, ...]:
    return ("bench", "intervals", f"{database(work)}.toml", "--db", str(database(work)), "--workers", "1")


def test_too_early_is_said_and_nothing_is_computed(
    run: Run, engine: Engine, work: tuple[str, ...], measured: list
) -> None:
    engine.says("sbatch", "5\n")
    done = run(
        *work,
        "--launcher",
        "slurm",
        "--tasks",
        "4",
        "--submit",
        "--launcher-args",
        "-p debug -A 'my account'",
    )
    assert (done.code, done.out) == (0, "submitted job 5: 4 elements\n"), done.err
    assert measured == [(5, 4)]
    assert engine.seen("sbatch")[:-1] == [
        "--parsable", "--array=0-3", "--ntasks=1", "--cpus-per-task=1", "--job-name=brokersim-intervals",
        "--time=2", "--mem=100M", "-p", "debug", "-A", "my account",
    ]  # fmt: skip
    engine.says("squeue", "5_0 PENDING\n5_1 PENDING\n5_2 PENDING\n5_3 PENDING\n")
    early = run(*gathering(work))
    assert early.code == 1 and not early.out
    assert "0 of 4 elements done, job 5 is in the queue" in early.err and "--wait waits" in early.err
    assert not RunFile.known(database(work))
    twice = run(*work, "--launcher", "slurm", "--submit")
    assert twice.code == 1 and "wait for it, or cancel it first" in twice.err
    engine.says("squeue", "5_0 RUNNING\n5_1 COMPLETING\n5_2 PENDING\n5_3 PENDING\n")
    assert "0 of 4 elements done, 2 running and 2 in the queue (job 5)" in run(*gathering(work)).err


def test_what_was_lost_is_named_and_alone_submitted_again(
    run: Run, engine: Engine, work: tuple[str, ...]
) -> None:
    engine.says("sbatch", "Welcome to the cluster\n5;main\n")
    assert run(*work, "--launcher", "slurm", "--tasks", "4", "--submit").code == 0
    for at in (0, 3):
        assert run(*gathering(work), "--shard", f"{at}/4").code == 0
    engine.says("squeue", "5_1 TIMEOUT\n5_2 CANCELLED\n", code=1)
    lost = run(*gathering(work))
    assert lost.code == 1
    assert "2 of 4 elements done, element 1: out of time, element 2: cancelled" in lost.err
    assert "--launcher slurm --submit        (only what is not done)" in lost.err
    engine.says("sbatch", "6\n")
    again = run(*gathering(work), "--launcher", "slurm", "--submit")
    assert again.out == "submitted job 6: 2 elements\n", again.err
    assert engine.seen("sbatch")[1] == "--array=1-2" and "--time=3" in engine.seen("sbatch")  # twice the 90 s
    engine.says("squeue", "6_1 RUNNING\n6_2 RUNNING\n")
    assert "2 of 4 elements done, job 6 is running" in run(*gathering(work)).err
    for at in (1, 2):
        assert run(*gathering(work), "--shard", f"{at}/4").code == 0
    whole = run(*gathering(work), "--json")
    assert whole.code == 0, whole.err
    alone = run("bench", "intervals", work[2], "--workers", "1", "--json")
    assert whole.json["simulated"] == alone.json["simulated"]
    assert sorted(one.name for one in database(work).parent.iterdir()) == [
        "plan.toml",
        "run.db",
        "run.db.toml",
    ]
    over = run(*work, "--launcher", "slurm")
    assert over.code == 2 and "there is nothing to hand over" in over.err


def test_here_computes_what_is_missing_and_wait_waits(
    run: Run, engine: Engine, work: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.says("sbatch", "5\n")
    assert run(*work, "--launcher", "slurm", "--tasks", "2", "--submit").code == 0
    looks = iter(["5_0 PENDING\n5_1 PENDING\n", "5_0 RUNNING\n5_1 PENDING\n", "", ""])
    look = arrays.look

    def next_look(job: arrays.ArrayJob) -> arrays.Standing:
        engine.says("squeue", next(looks))
        return look(job)

    monkeypatch.setattr(arrays, "look", next_look)
    lost = run(*gathering(work), "--wait")
    assert lost.code == 1 and "elements 0 1: not known there any more" in lost.err
    here = run(*gathering(work), "--here", "--json")
    assert here.code == 0 and len(here.json["simulated"]) == 5, here.err


def test_accounting_is_asked_where_the_queue_has_forgotten(
    run: Run, engine: Engine, work: tuple[str, ...]
) -> None:
    engine.says("sbatch", "5\n")
    assert run(*work, "--launcher", "slurm", "--tasks", "3", "--submit").code == 0
    engine.says("squeue", "", code=1, errors="slurm_load_jobs error: Invalid job id specified\n")
    engine.says("sacct", "5_0 OUT_OF_MEMORY\n5_1 CANCELLED by 0\n5_2 NODE_FAIL\n")
    told = run(*gathering(work)).err
    for part in ("element 0: out of memory", "element 1: cancelled", "element 2: lost with its node"):
        assert part in told


def test_a_printed_command_is_no_job_and_says_so(run: Run, engine: Engine, work: tuple[str, ...]) -> None:
    printed = run(*work, "--launcher", "slurm", "--tasks", "50")
    assert printed.out.startswith("sbatch --parsable --array=0-3 ")  # one of five points was measured
    assert "elements 0 1 2 3: not submitted from here" in run(*gathering(work)).err


def test_memory_is_asked_for_where_it_is_counted(run: Run, engine: Engine, work: tuple[str, ...]) -> None:
    for counted, asks in (("CR_CORE", False), ("CR_CORE_MEMORY", True), ("", True)):
        engine.says("scontrol", f"SelectType = select/cons_tres\nSelectTypeParameters = {counted}\n")
        assert ("--mem=100M" in run(*work, "--launcher", "slurm").out) == asks


def test_an_array_that_is_too_long_is_explained(run: Run, engine: Engine, work: tuple[str, ...]) -> None:
    engine.says(
        "sbatch", "", 1, "sbatch: error: Batch job submission failed: Invalid job array specification\n"
    )
    engine.says("scontrol", "MaxArraySize            = 3\n")
    done = run(*work, "--launcher", "slurm", "--submit")
    assert done.code == 1 and "this Slurm's MaxArraySize is 3; give --tasks 3 or less" in done.err
    engine.says("scontrol", "MaxArraySize            = 1001\n")
    assert "MaxArraySize" not in run(*work, "--launcher", "slurm", "--submit").err


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [("", 3, "sbatch exited with 3: down"), ("what?\n", 0, "'what?', which is no job's number")],
)
def test_an_engine_that_refuses_or_rambles_is_told(
    said: str, code: int, told: str, run: Run, engine: Engine, work: tuple[str, ...]
) -> None:
    engine.says("sbatch", said, code, "down\n")
    done = run(*work, "--launcher", "slurm", "--submit")
    assert done.code == 1 and told in done.err
    assert not Path(f"{database(work)}.array").exists() and not Path(f"{database(work)}.sh").exists()


def test_flux_gets_a_job_an_element_and_no_brace_of_a_path(
    run: Run, engine: Engine, work: tuple[str, ...]
) -> None:
    engine.says("flux", "f1\nf2\n")
    done = run(*work, "--launcher", "flux", "--tasks", "2", "--submit")
    assert done.out == "submitted jobs ƒ1, ƒ2: 2 elements\n", done.err
    *words, element = engine.seen("flux")
    assert words == [
        "submit", "-n", "1", "-c", "1", "--cc=0-1", "--job-name=brokersim-intervals", "--time-limit=90s", "sh", "-c",
        'exec sh "$BROKERSIM_ELEMENT"',
    ]  # fmt: skip
    assert element == f"BROKERSIM_ELEMENT={database(work)}.sh"
    printed = run(*work[:4], f"{database(work)}2", "--launcher", "flux").out
    assert printed.startswith(f"BROKERSIM_ELEMENT='{database(work)}2.sh' flux submit -n 1 ")
    engine.says("flux", "0 RUN \n1 INACTIVE CANCELED\n")
    assert "0 of 2 elements done, job ƒ1 is running, element 1: cancelled" in run(*gathering(work)).err
    engine.says("flux", "0 INACTIVE FAILED\n1 INACTIVE TIMEOUT\n")
    assert "element 0: failed, element 1: out of time" in run(*gathering(work)).err


def test_the_script_of_an_element_does_its_share(run: Run, engine: Engine, work: tuple[str, ...]) -> None:
    run(*work, "--launcher", "slurm", "--tasks", "2")
    script = f"{database(work)}.sh"
    done = subprocess.run(
        ["sh", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (database(work).parent / "run.db.1of2.done").exists()
    assert "element 0: not submitted from here" in run(*gathering(work)).err


def test_a_list_of_runs_says_what_is_queued_running_and_broken(
    run: Run, engine: Engine, work: tuple[str, ...]
) -> None:
    engine.says("sbatch", "5\n")
    run(*work, "--launcher", "slurm", "--tasks", "2", "--submit")
    where = ("runs", "list", "--dir", str(database(work).parent))
    for said, state in (
        ("5_0 PENDING\n5_1 PENDING\n", "queued"),
        ("5_0 RUNNING\n5_1 PENDING\n", "running"),
        ("5_0 FAILED\n5_1 COMPLETED\n", "broken"),
    ):
        engine.says("squeue", said)
        [one] = [one for one in run(*where, "--json").json if one["kind"] == "array"]
        assert (one["id"], one["experiment"], one["state"]) == ("run.db.array", "intervals", state)
        assert state in run(*where).out and "0 of 2 elements done" in one["standing"]
    engine.says("squeue", "", code=2, errors="no controller\n")
    assert [one["state"] for one in run(*where, "--json").json if one["kind"] == "array"] == ["unknown"]


def test_a_record_that_is_none_is_told(run: Run, engine: Engine, work: tuple[str, ...]) -> None:
    for text in ("", "[]", '{"run": 1}', '{"limits": 5, "ids": []}'):
        Path(f"{database(work)}.array").write_text(text)
        done = run(*work)
        assert done.code == 1 and "no record of an array job" in done.err
        assert "Traceback" not in done.err


# -- repetitions of an experiment

DECAY = ("bench", "decay", "--jobs", "4", "--blocks", "2", "--reps", "4")


def test_repetitions_are_an_array_whose_sum_is_the_run(
    run: Run, engine: Engine, measured: list, tmp_path: Path
) -> None:
    kept = tmp_path / "run.db"
    engine.says("sbatch", "7\n")
    done = run(*DECAY, "--db", str(kept), "--launcher", "slurm", "--submit", "--tasks", "3")
    assert (done.code, done.out) == (0, "submitted job 7: 3 elements\n"), done.err
    engine.says("squeue", "7_0 RUNNING\n7_1 PENDING\n7_2 PENDING\n")
    early = run(*DECAY, "--db", str(kept))
    assert early.code == 1 and "0 of 3 elements done" in early.err
    for at in range(3):
        assert run(*DECAY, "--db", str(kept), "--shard", f"{at}/3").code == 0
    gathered = run(*DECAY, "--db", str(kept), "--json")
    assert gathered.code == 0, gathered.err
    alone = run(*DECAY, "--json").json
    assert {**gathered.json, "meta": 0} == {**alone, "meta": 0}
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("run.db")] == ["run.db"]


def test_an_element_of_another_plan_is_not_taken_over(
    run: Run, engine: Engine, measured: list, tmp_path: Path
) -> None:
    kept = str(tmp_path / "run.db")
    run(*DECAY, "--db", kept, "--launcher", "slurm", "--tasks", "2")
    other = ("bench", "decay", "--jobs", "5", "--blocks", "2", "--reps", "4", "--db", kept)
    for at in range(2):
        assert run(*other, "--shard", f"{at}/2").code == 0
    done = run(*DECAY, "--db", kept)
    assert done.code == 1 and "holds what is done of another run" in done.err


def test_repetitions_that_take_turns_are_one_job(run: Run, engine: Engine, tmp_path: Path) -> None:
    done = run(
        "bench", "overhead", "--reps", "3", "--db", str(tmp_path / "run.db"), "--launcher", "slurm",
        "--launcher-args", "-p debug",
    )  # fmt: skip
    assert done.out.startswith(
        "sbatch --ntasks=1 --cpus-per-task=2 --job-name=brokersim-overhead -p debug '--wrap="
    )


# -- the book


def test_chapters_are_an_array_and_a_book_goes_on_where_it_was_left(
    run: Run, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    book = ("bench", "journal", "decay", "states", "--jobs", "4", "--out", "mine", "--plot", "none")
    alone = run(*book[:-4], "--out", "alone", "--plot", "none", "--json").json
    engine.says("sbatch", "9\n")
    done = run(*book, "--launcher", "slurm", "--submit")
    assert (done.code, done.out) == (0, "submitted job 9: 2 elements\n"), done.err
    assert not any(word.startswith("--time") for word in engine.seen("sbatch"))
    engine.says("squeue", "9_0 RUNNING\n9_1 PENDING\n")
    early = run(*book)
    assert early.code == 1 and "0 of 2 elements done, 1 running and 1 in the queue (job 9)" in early.err
    assert run(*book, "--shard", "0/2").code == 0
    engine.says("squeue", "9_1 CANCELLED\n")
    assert "1 of 2 elements done, element 1: cancelled" in run(*book).err
    whole = run(*book, "--here", "--json")
    assert whole.code == 0, whole.err
    assert [one["runs"] for one in whole.json["results"]] == [one["runs"] for one in alone["results"]]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alone", "bin", "mine"]
