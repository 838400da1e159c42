"""Knows how a sweep is handed to an engine as an array job: the command line of Flux or Slurm. Not what is run.

Each element does its share of the plan into a file of its own beside the run file; the same command without a
launcher gathers them afterwards and does what is left. Nothing here queues or retries: the engines do.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from brokersim.lab.sweep.plan_file import SweepPlan, to_toml


class LaunchError(RuntimeError):
    """An array job that was not submitted: why, and what to do."""


def element(plan_path: Path, run_path: Path, shard: str) -> list[str]:
    """The command of one element; ``shard`` may be what the engine fills in."""
    return [
        sys.executable, "-m", "brokersim", "bench", "intervals", str(plan_path), "--db", str(run_path), "--shard", shard
    ]  # fmt: skip


def flux_command(plan_path: Path, run_path: Path, tasks: int) -> list[str]:
    """``flux submit`` of ``tasks`` jobs of one core; ``{cc}`` is the job's number."""
    return [
        "flux", "submit", "-n", "1", "-c", "1", f"--cc=0-{tasks - 1}", "--job-name=brokersim-intervals",
        *element(plan_path, run_path, f"{{cc}}/{tasks}"),
    ]  # fmt: skip


def slurm_command(plan_path: Path, run_path: Path, tasks: int) -> list[str]:
    """``sbatch`` of an array of ``tasks`` elements of one core; the element's number comes by the environment."""
    words = element(plan_path, run_path, "@")
    line = shlex.join(words[:-1]) + f' "$SLURM_ARRAY_TASK_ID"/{tasks}'
    return [
        "sbatch", f"--array=0-{tasks - 1}", "--ntasks=1", "--cpus-per-task=1", "--job-name=brokersim-intervals",
        f"--wrap={line}",
    ]  # fmt: skip


COMMANDS: dict[str, Callable[[Path, Path, int], list[str]]] = {"flux": flux_command, "slurm": slurm_command}


def one_job(launcher: str, name: str, command: Sequence[str]) -> list[str]:
    """The engine's command that runs ``command`` as one job of two cores: an experiment's instance and its watcher."""
    if launcher == "flux":
        return ["flux", "submit", "-n", "1", "-c", "2", f"--job-name=brokersim-{name}", *command]
    return [
        "sbatch",
        "--ntasks=1",
        "--cpus-per-task=2",
        f"--job-name=brokersim-{name}",
        f"--wrap={shlex.join(command)}",
    ]


def prepare(plan: SweepPlan, launcher: str, run_path: Path, tasks: int) -> list[str]:
    """Write the plan beside the run file and return the engine's command. Raises OSError."""
    run_path = run_path.absolute()  # an element starts where its engine likes
    plan_path = run_path.with_name(f"{run_path.name}.toml")
    plan_path.write_text(to_toml(plan))
    return COMMANDS[launcher](plan_path, run_path, tasks)


def submit(command: Sequence[str]) -> str:
    """Run the engine's command; what it said. Raises LaunchError."""
    if shutil.which(command[0]) is None:
        raise LaunchError(f"{command[0]}: not found; run the printed command where the engine is")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LaunchError(
            f"{command[0]} exited with {done.returncode}: {done.stderr.strip() or 'no reason given'}"
        )
    return done.stdout.strip()
