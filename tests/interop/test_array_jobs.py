"""Array jobs in a real Slurm of two nodes: submitted, too early, cancelled, submitted again, gathered."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from brokersim.cli.main import main
from tests.interop.slurm import slurm

pytestmark = pytest.mark.xdist_group("peers")
PLAN = """
[sweep]
workloads = ["bulk"]
jobs = 3
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


def test_an_array_job_is_followed_from_its_submission_to_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a folder {x} %a"
    folder.mkdir()
    (folder / "plan.toml").write_text(PLAN)
    (tmp_path / "slurm").mkdir()
    monkeypatch.chdir(folder)

    def bench(*words: str) -> tuple[int, str]:
        code = main(["bench", "intervals", *words, "--workers", "1"])
        told = capfd.readouterr()
        return code, told.out + told.err

    with slurm(tmp_path / "slurm") as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        submit = ("plan.toml", "--db", "run.db", "--launcher", "slurm", "--submit")
        code, told = bench(*submit, "--tasks", "4", "--launcher-args", "--hold")
        assert (code, "submitted job 1: 4 elements" in told) == (0, True), told
        code, told = bench("run.db.toml", "--db", "run.db")
        assert (code, "0 of 4 elements done, job 1 is in the queue" in told) == (1, True), told
        subprocess.run(["scancel", "1_2"], check=True)
        subprocess.run(["scontrol", "release", "1"], check=True)
        code, told = bench("run.db.toml", "--db", "run.db", "--wait")
        assert (code, "3 of 4 elements done, element 2: cancelled" in told) == (1, True), told
        assert sorted(one.name for one in folder.glob("run.db.*.done")) == [
            f"run.db.{at}of4.done" for at in (0, 1, 3)
        ]
        code, told = bench("run.db.toml", "--db", "run.db", "--launcher", "slurm", "--submit")
        assert (code, ": 1 element\n" in told) == (0, True), told
        job = told.partition("submitted job ")[2].partition(":")[0]
        subprocess.run(["scontrol", "release", job], check=True)
        code, told = bench("run.db.toml", "--db", "run.db", "--wait")
        assert (code, "Keep a point every" in told) == (0, True), told
        assert not (folder / "run.db.array").exists()
        code, told = bench(
            "plan.toml",
            "--db",
            "more.db",
            "--launcher",
            "slurm",
            "--submit",
            "--launcher-args",
            "-t 5 --array=0-7",
        )
        assert (code, "Invalid job array specification" in told) == (1, True), told
