"""Knows how Flux and Slurm take an array job, what they call its elements, and what they say became of each.

Not what an element does. Nothing here queues or retries: the engines do. An element is a script beside the run file;
its number comes by the environment, and its path is no word of the command where an engine would read more into it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final, Protocol

import attrs

from brokersim.protocol import jobid
from brokersim.protocol.ranks import format_ranks

QUEUED: Final = "queued"
RUNNING: Final = "running"
#: Of an element that ended, or that the engine has forgotten.
UNKNOWN: Final = "not known there any more"
#: Seconds that an engine may take to answer.
_PATIENCE: Final = 60


class LaunchError(RuntimeError):
    """An engine that did not do as it was told: why, and what to do."""


@attrs.frozen(kw_only=True)
class Limits:
    """What one element may take: real seconds, bytes of memory (0: none is asked for)."""

    seconds: float
    bytes: int = 0


@attrs.frozen(kw_only=True)
class Wish:
    """Elements of an array job that an engine is to run: the script of each, what they are called, how much they take.

    ``more`` are words for the engine's command, as a person gave them; they come last, so they win.
    """

    script: Path
    name: str
    elements: tuple[int, ...]
    limits: Limits | None = None
    more: tuple[str, ...] = ()


class Engine(Protocol):
    """One engine's ways."""

    name: str

    def command(self, wish: Wish) -> list[str]:
        """What submits it: words for a shell, the first may set a variable."""

    def one_job(self, name: str, command: Sequence[str], more: Sequence[str]) -> list[str]:
        """What submits a command as one job of two cores: an experiment's instance and its watcher."""

    def ids(self, said: str, wish: Wish) -> dict[int, str]:
        """What the elements are called, from what the command said. Raises LaunchError."""

    def states(self, ids: Mapping[int, str]) -> dict[int, str]:
        """QUEUED, RUNNING, or what became of each. Raises LaunchError."""

    def called(self, ids: Mapping[int, str]) -> str:
        """What a person calls these elements: ``job 5``."""

    def explained(self, wish: Wish, why: str) -> str:
        """A refusal, with what would be taken if that is known."""

    def adapted(self, limits: Limits) -> Limits:
        """Of what an element takes, what this engine can be asked for."""


class Flux(Engine):
    """``flux submit --cc``: a job an element."""

    name = "flux"

    def command(self, wish: Wish) -> list[str]:
        limits = wish.limits
        # By a variable, which jobs inherit: in the words of a command with --cc Flux expands what stands in braces.
        return [
            f"{_SCRIPT}={wish.script}", "flux", "submit", "-n", "1", "-c", "1", f"--cc={format_ranks(wish.elements)}",
            f"--job-name=brokersim-{wish.name}", *([f"--time-limit={ceil(limits.seconds)}s"] if limits else []),
            *wish.more, "sh", "-c", f'exec sh "${_SCRIPT}"',
        ]  # fmt: skip

    def one_job(self, name: str, command: Sequence[str], more: Sequence[str]) -> list[str]:
        return ["flux", "submit", "-n", "1", "-c", "2", f"--job-name=brokersim-{name}", *more, *command]

    def ids(self, said: str, wish: Wish) -> dict[int, str]:
        found = said.split()
        try:
            if len(found) != len(wish.elements):
                raise ValueError(f"{len(found)} ids for {len(wish.elements)} elements")
            return {at: str(jobid.decode(one)) for at, one in zip(wish.elements, found, strict=True)}
        except ValueError as error:
            raise LaunchError(f"flux submit said {said!r:.80}: {error}") from None

    def states(self, ids: Mapping[int, str]) -> dict[int, str]:
        # Exits with 1 where one of them is not known; the others are told.
        told = run(
            ["flux", "jobs", "--no-header", "--format={id.dec} {state} {result}", *ids.values()], codes=(0, 1)
        )
        by_id = {words[0]: words[1:] for line in told.splitlines() if len(words := line.split()) >= 2}
        return {at: _of_flux(by_id.get(one)) for at, one in ids.items()}

    def called(self, ids: Mapping[int, str]) -> str:
        names = [jobid.encode(int(one)) for one in ids.values()]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"job{'s' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"

    def explained(self, wish: Wish, why: str) -> str:
        return why

    def adapted(self, limits: Limits) -> Limits:
        return limits  # memory has no place in its command


def _of_flux(words: Sequence[str] | None) -> str:
    if words is None:
        return UNKNOWN
    state, result = words[0], words[1] if len(words) > 1 else ""
    if state in ("DEPEND", "PRIORITY", "SCHED", "NEW"):
        return QUEUED
    return RUNNING if state in ("RUN", "CLEANUP") else _ENDED.get(result, f"ended as {result}")


class Slurm(Engine):
    """``sbatch --array``: one job."""

    name = "slurm"

    def command(self, wish: Wish) -> list[str]:
        limits = wish.limits
        asked = [f"--time={ceil(limits.seconds / 60)}"] if limits else []
        if limits and limits.bytes:
            asked.append(f"--mem={ceil(limits.bytes / 2**20)}M")
        return [
            "sbatch", "--parsable", f"--array={format_ranks(wish.elements)}", "--ntasks=1", "--cpus-per-task=1",
            f"--job-name=brokersim-{wish.name}", *asked, *wish.more, str(wish.script),
        ]  # fmt: skip

    def one_job(self, name: str, command: Sequence[str], more: Sequence[str]) -> list[str]:
        return [
            "sbatch", "--ntasks=1", "--cpus-per-task=2", f"--job-name=brokersim-{name}", *more,
            f"--wrap={shlex.join(command)}",
        ]  # fmt: skip

    def ids(self, said: str, wish: Wish) -> dict[int, str]:
        # "5", or "5;cluster" where there are several; a site's own lines may stand before it.
        found = re.fullmatch(r"(\d+)(;\S+)?", said.split("\n")[-1].strip())
        if found is None:
            raise LaunchError(f"sbatch said {said!r:.80}, which is no job's number")
        return {at: f"{found[1]}_{at}" for at in wish.elements}

    def states(self, ids: Mapping[int, str]) -> dict[int, str]:
        jobs = ",".join(dict.fromkeys(one.partition("_")[0] for one in ids.values()))
        # Exits with 1 when it has forgotten them, after MinJobAge; accounting, where there is one, has not.
        told = run(
            ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={jobs}"],
            codes=(0, 1),
        )
        known = _by_id(told)
        if not all(one in known for one in ids.values()) and shutil.which("sacct"):
            accounted = run(["sacct", "-nPX", "--delimiter= ", "-o", "JobID,State", "-j", jobs], codes=(0, 1))
            known = {**_by_id(accounted), **known}
        # An element that is cancelled before it begins vanishes from an array that is known.
        arrays = {one.partition("_")[0] for one in known}
        absent = {one: "CANCELLED" for one in ids.values() if one.partition("_")[0] in arrays}
        return {at: _of_slurm({**absent, **known}.get(one)) for at, one in ids.items()}

    def called(self, ids: Mapping[int, str]) -> str:
        jobs = list(dict.fromkeys(one.partition("_")[0] for one in ids.values()))
        return f"job{'s' if len(jobs) > 1 else ''} {', '.join(jobs)}"

    def explained(self, wish: Wish, why: str) -> str:
        most = _setting("MaxArraySize") if "Invalid job array specification" in why else ""
        if not most.isdecimal() or max(wish.elements) < int(most):
            return why
        return f"{why}: this Slurm's MaxArraySize is {most}; give --tasks {most} or less"

    def adapted(self, limits: Limits) -> Limits:
        # Where memory is not counted, nodes may be said to have 1 MB of it, and what asks for more never runs.
        counted = _setting("SelectTypeParameters")
        return limits if not counted or "MEMORY" in counted.upper() else attrs.evolve(limits, bytes=0)


def _setting(name: str) -> str:
    """What this Slurm is set to, empty where it cannot be asked."""
    try:
        found = re.search(rf"^{name}\s*=\s*(\S+)", run(["scontrol", "show", "config"]), re.MULTILINE)
    except LaunchError:
        return ""
    return "" if found is None else found[1]


def _by_id(told: str) -> dict[str, str]:
    return {words[0]: words[1] for line in told.splitlines() if len(words := line.split()) >= 2}


def _of_slurm(state: str | None) -> str:
    if state is None:
        return UNKNOWN
    if state in (
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
        "SUSPENDED",
        "RESV_DEL_HOLD",
    ):
        return QUEUED
    return (
        RUNNING if state in ("RUNNING", "COMPLETING", "STAGE_OUT") else _ENDED.get(state, f"ended as {state}")
    )


TIMED_OUT: Final = "out of time"
OUT_OF_MEMORY: Final = "out of memory"
_ENDED: Final = {
    "CANCELED": "cancelled", "CANCELLED": "cancelled", "FAILED": "failed", "TIMEOUT": TIMED_OUT,
    "OUT_OF_MEMORY": OUT_OF_MEMORY, "NODE_FAIL": "lost with its node", "COMPLETED": "ended without a result",
}  # fmt: skip
#: The variable that names an element's script to it.
_SCRIPT: Final = "BROKERSIM_ELEMENT"
ENGINES: Final[dict[str, Engine]] = {"flux": Flux(), "slurm": Slurm()}


def has_time_limit(more: Sequence[str]) -> bool:
    """Whether a person has given one among an engine's options: then none is measured."""
    return any(re.fullmatch(r"-t.*|--time(-limit)?(=.*)?", word) for word in more)


def shown(command: Sequence[str]) -> str:
    """The command as a person can give it to a shell; a variable in front of it stays one."""
    first, *rest = command
    name, equals, value = first.partition("=")
    if equals and name == _SCRIPT:
        return f"{name}={shlex.quote(value)} {shlex.join(rest)}"
    return shlex.join(command)


def run(command: Sequence[str], codes: Sequence[int] = (0,)) -> str:
    """Run an engine's command; what it said. Raises LaunchError."""
    words = ["env", *command] if command[0].startswith(f"{_SCRIPT}=") else list(command)
    program = words[2] if words[0] == "env" else words[0]
    if shutil.which(program) is None:
        raise LaunchError(f"{program}: not found; run the printed command where the engine is")
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{program} has said nothing for {_PATIENCE} s") from None
    if done.returncode not in codes:
        raise LaunchError(
            f"{program} exited with {done.returncode}: {done.stderr.strip() or 'no reason given'}"
        )
    return done.stdout.strip()


def submit(engine: Engine, wish: Wish) -> dict[int, str]:
    """Hand the elements over; what they are called. Raises LaunchError."""
    try:
        return engine.ids(run(engine.command(wish)), wish)
    except LaunchError as error:
        raise LaunchError(engine.explained(wish, str(error))) from None
