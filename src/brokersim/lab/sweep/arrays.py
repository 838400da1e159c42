"""Knows an array job from its submission to its gathering: a record beside the run file, which elements are done.

An element is done when its mark is there; what became of one without a mark its engine is asked. Nothing is computed
anew, and nothing submitted twice, without a word. Doesn't know what an element computes.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Final

import attrs
import msgspec

from brokersim import files
from brokersim.lab.sweep.launchers import (
    ENGINES,
    OUT_OF_MEMORY,
    QUEUED,
    RUNNING,
    TIMED_OUT,
    LaunchError,
    Limits,
    Wish,
    submit,
)
from brokersim.protocol.decoded import JsonObject

#: The end of a record's name.
SUFFIX: Final = ".array"
#: What is asked for beyond what was measured: other machines are slower, other elements longer.
TIME_FACTOR, TIME_MORE = 3.0, 60.0
MEMORY_FACTOR, MEMORY_MORE = 1.5, 64 << 20
#: Seconds between two looks of who waits.
LOOK: Final = 2.0


class ArrayError(ValueError):
    """What cannot be with an array job as it stands: what it is, and what can be done."""


@attrs.frozen
class Share:
    """The part of a whole that one of ``count`` elements does: even to one, neighbours together."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """``2/8``. Raises ValueError that says so."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ValueError(f"not a shard: {text!r}; give I/N with I from 0 to N-1, such as 2/8")
        return cls(int(index), int(count))

    def span(self, total: int) -> range:
        """Which of ``total`` things, by their places."""
        return range(self.index * total // self.count, (self.index + 1) * total // self.count)

    def path(self, whole: Path) -> Path:
        """The file of its own."""
        return whole.with_name(f"{whole.name}.{self.index}of{self.count}")

    def mark(self, whole: Path) -> Path:
        """What is there when it is done."""
        return whole.with_name(f"{whole.name}.{self.index}of{self.count}.done")

    def remove(self, whole: Path) -> None:
        """What it has found is taken over: its files go."""
        own = self.path(whole)
        for path in (self.mark(whole), own, own.with_name(f"{own.name}.part")):
            path.unlink(missing_ok=True)


@attrs.frozen(kw_only=True)
class ArrayJob:
    """An array job: who runs it, its elements and what they are called there.

    ``run`` is the file it is for, ``words`` the command of an element without its share, ``gather`` what a person types
    when it has run. ``ids`` is empty where the engine's command was printed and not run.
    """

    run: Path
    launcher: str
    name: str
    count: int
    words: tuple[str, ...]
    gather: str
    ids: dict[int, str] = attrs.field(factory=dict)
    more: tuple[str, ...] = ()
    limits: Limits | None = None

    @property
    def record(self) -> Path:
        return record_of(self.run)

    @property
    def script(self) -> Path:
        return self.run.with_name(f"{self.run.name}.sh")

    @property
    def paths(self) -> list[Path]:
        """The files of its elements."""
        return [self.share(at).path(self.run) for at in range(self.count)]

    def share(self, at: int) -> Share:
        return Share(at, self.count)

    def write(self) -> None:
        """Keep the record. Raises OSError."""
        told = {
            **attrs.asdict(self),
            "run": str(self.run),
            "ids": {str(at): one for at, one in self.ids.items()},
        }
        files.write_file(self.record, msgspec.json.encode(told))

    def write_script(self) -> None:
        """The script of an element, whose number is in the environment. Raises OSError."""
        number = '"${FLUX_JOB_CC:-$SLURM_ARRAY_TASK_ID}"'
        own, run = _apart([sys.executable, "-m", "brokersim", *self.words])
        command = f"{shlex.join(own)} --shard {number}/{self.count} {shlex.join(run)}".rstrip()
        text = f"#!/bin/sh\n# One element of an array job; gathered by: {self.gather}\n"
        where = f"cd {shlex.quote(os.getcwd())} || exit 1\n"
        self.script.write_text(f"{text}{where}exec {command}\n")
        self.script.chmod(self.script.stat().st_mode | stat.S_IXUSR)

    def wish(self, elements: Sequence[int]) -> Wish:
        """What to ask the engine for."""
        return Wish(
            script=self.script, name=self.name, elements=tuple(elements), limits=self.limits, more=self.more
        )

    def remove(self) -> None:
        """All is gathered: nothing of it is needed any more but the run file."""
        for at in range(self.count):
            self.share(at).remove(self.run)
        self.script.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


def with_more(command: str, *more: str) -> str:
    """A command with further options, in front of a command that it runs."""
    own, run = _apart(shlex.split(command))
    return shlex.join([*own, *more, *run])


def _apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's own words, and those of a command that it runs with their ``--``."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at:])


def record_of(run: Path) -> Path:
    """Where the record of a run's array job is, if there is one."""
    return run.with_name(f"{run.name}{SUFFIX}")


def read(record: Path) -> ArrayJob | None:
    """The array job of a record, None where there is none. Raises ArrayError for what is no record."""
    try:
        told: JsonObject = msgspec.json.decode(files.read_bytes(record))
        limits = told.pop("limits")
        ids = {int(at): str(one) for at, one in told.pop("ids").items()}
        words, more = (tuple(map(str, told.pop(name))) for name in ("words", "more"))
        # The files may have been moved together.
        told["run"] = record.with_name(record.name.removesuffix(SUFFIX))
        found = ArrayJob(**told, words=words, more=more, ids=ids, limits=Limits(**limits) if limits else None)
        if found.launcher not in ENGINES or found.count < 1:
            raise ValueError(found.launcher)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArrayError(f"{record}: no record of an array job ({error}); remove it to begin anew") from None
    return found


# -- how it stands


@attrs.frozen(kw_only=True)
class Standing:
    """How far an array job is: its elements, by what became of them; ``lost`` has the others and why."""

    job: ArrayJob
    done: tuple[int, ...]
    queued: tuple[int, ...] = ()
    running: tuple[int, ...] = ()
    lost: dict[int, str] = attrs.field(factory=dict)

    @property
    def is_whole(self) -> bool:
        return len(self.done) == self.job.count

    @property
    def is_open(self) -> bool:
        """Some are on their way."""
        return bool(self.queued or self.running)

    @property
    def state(self) -> str:
        """One word: done, running, queued, or broken."""
        if self.is_whole:
            return "done"
        return "running" if self.running else "queued" if self.queued else "broken"

    def __str__(self) -> str:
        parts = [f"{len(self.done)} of {self.job.count} elements done"]
        if self.is_open:
            parts.append(self._on_their_way())
        for why in dict.fromkeys(self.lost.values()):
            these = [str(at) for at, one in self.lost.items() if one == why]
            parts.append(f"element{'s' if len(these) > 1 else ''} {' '.join(these)}: {why}")
        return ", ".join(parts)

    def _on_their_way(self) -> str:
        own = {at: self.job.ids[at] for at in sorted((*self.running, *self.queued))}
        name = ENGINES[self.job.launcher].called(own)
        if self.running and self.queued:
            return f"{len(self.running)} running and {len(self.queued)} in the queue ({name})"
        verb = "are" if name.startswith("jobs") else "is"
        return f"{name} {verb} {'running' if self.running else 'in the queue'}"


def look(job: ArrayJob) -> Standing:
    """How it stands now. Raises LaunchError if the engine cannot be asked."""
    done = tuple(at for at in range(job.count) if job.share(at).mark(job.run).exists())
    asked = {at: job.ids[at] for at in range(job.count) if at not in done and at in job.ids}
    states = ENGINES[job.launcher].states(asked) if asked else {}
    # One may have ended between the two looks.
    done = tuple(at for at in range(job.count) if at in done or job.share(at).mark(job.run).exists())
    states = {at: state for at, state in states.items() if at not in done}
    lost = {at: state for at, state in states.items() if state not in (QUEUED, RUNNING)}
    lost |= {at: "not submitted from here" for at in range(job.count) if at not in done and at not in job.ids}
    return Standing(
        job=job,
        done=done,
        queued=tuple(at for at, state in states.items() if state == QUEUED),
        running=tuple(at for at, state in states.items() if state == RUNNING),
        lost=dict(sorted(lost.items())),
    )


def wait(job: ArrayJob, say: Callable[[str], object]) -> Standing:
    """How it stands when nothing of it is on its way any more. Raises LaunchError."""
    while (standing := look(job)).is_open:
        say(str(standing))
        time.sleep(LOOK)
    return standing


# -- to the engine


def hand_over(job: ArrayJob, elements: Sequence[int], is_submitted: bool) -> ArrayJob:
    """Write the script and the record, and submit the elements if that is wanted. Raises LaunchError, OSError."""
    job.write_script()
    if is_submitted:
        try:
            ids = submit(ENGINES[job.launcher], job.wish(elements))
        except LaunchError:
            if not job.record.exists():
                job.script.unlink(missing_ok=True)
            raise
        job = attrs.evolve(job, ids={**job.ids, **ids})
    job.write()
    return job


def again(standing: Standing) -> ArrayJob:
    """The job as its lost elements are to be submitted: with more time or memory if that was what they lacked."""
    job, why = standing.job, set(standing.lost.values())
    if job.limits is None:
        return job
    more_time, more_memory = (2 if one in why else 1 for one in (TIMED_OUT, OUT_OF_MEMORY))
    limits = Limits(seconds=job.limits.seconds * more_time, bytes=job.limits.bytes * more_memory)
    return attrs.evolve(job, limits=limits)


def measured(words: Sequence[str], total: int, count: int) -> Limits:
    """What an element of ``count`` takes, from one of ``total`` points that is run here and now.

    What it finds is kept like an element's. Raises LaunchError if it fails.
    """
    own, run = _apart([sys.executable, "-m", "brokersim", *words])
    command = [*own, "--shard", f"0/{total}", *run]
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process, process.stderr or open(os.devnull, "rb") as errors:
        told = errors.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LaunchError(
            f"the first point, run here to be measured, failed: {told.strip() or process.returncode}"
        )
    seconds = (time.monotonic() - begun) * ceil(total / count) * TIME_FACTOR + TIME_MORE
    return Limits(seconds=seconds, bytes=round(usage.ru_maxrss * 1024 * MEMORY_FACTOR) + MEMORY_MORE)
