"""Knows what tidies up behind jobs: a command on each node a job had, which goes back to the scheduler after it.

Source: flux-core's ``job-manager.housekeeping`` (its configuration, log lines and statistics).
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final, Protocol

import attrs
import msgspec

from brokersim.brokermod import Handle, Message, RequestError, duration, errnums, jobid, ranks

from .held import RANKS_MAX, hosts_of, only
from .job import Job
from .messages import HousekeepingKill

#: Resources go back when all nodes are done.
NEVER: Final = -1.0
#: What of a command's output is wanted: both streams.
_OUTPUT: Final = 3
_KEYS: Final = ("command", "release-after", "use-systemd-unit", "exit-on-first-error")
_TABLE: Final = "job-manager.housekeeping"


class Log(Protocol):
    """Where is told how it went."""

    def error(self, text: str) -> object: ...
    def info(self, text: str) -> object: ...
    def debug(self, text: str) -> object: ...


class Told(msgspec.Struct):
    """What is read of an answer of rexec.exec."""

    type: str
    pid: int = 0
    status: int = 0
    io: dict[str, Any] = {}


@attrs.frozen(kw_only=True)
class Setting:
    """``command`` empty: nothing tidies up. ``release_after``: seconds from the first node's end, or NEVER."""

    command: tuple[str, ...] = ()
    release_after: float = NEVER
    is_deprecated: bool = False


def setting_in(conf: Any) -> Setting:
    """What a configuration says. Raises RequestError(EINVAL)."""
    table = _table(conf, "job-manager").get("housekeeping")
    if table is None:
        return Setting()
    if not isinstance(table, Mapping):
        raise RequestError(errnums.EINVAL, f"{_TABLE} is no table")
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise RequestError(
            errnums.EINVAL, f"{_TABLE}: {len(unknown)} object item(s) left unpacked: {unknown[0]:.60}"
        )
    return Setting(
        command=_command(table.get("command"), _table(conf, "exec").get("imp")),
        release_after=_release(table.get("release-after")),
        is_deprecated=bool(table.get("use-systemd-unit")),
    )


def _table(conf: Any, name: str) -> Mapping[str, Any]:
    table = conf.get(name) if isinstance(conf, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _command(words: Any, imp: Any) -> tuple[str, ...]:
    if words is None:
        if not isinstance(imp, str):
            raise RequestError(errnums.EINVAL, f"{_TABLE} implies IMP but exec.imp is undefined")
        return (imp, "run", "housekeeping")
    if (
        not isinstance(words, list)
        or not words
        or any(type(word) is not str or "\0" in word for word in words)
    ):
        raise RequestError(
            errnums.EINVAL, f"{_TABLE}.command: error creating housekeeping command: give its words"
        )
    return tuple(words)


def _release(text: Any) -> float:
    try:
        seconds = NEVER if text is None else duration.parse_duration(text)
    except (ValueError, TypeError, AttributeError):
        raise RequestError(errnums.EINVAL, f"{_TABLE}.release-after FSD parse error") from None
    return NEVER if math.isinf(seconds) else seconds


class Tidying:
    """What one job had, while it is tidied up: ``pending`` ranks are not done yet, ``left`` not given back."""

    __slots__ = ("_hosts", "_r", "begun", "is_due", "job", "left", "name", "pending", "pids", "timer")

    def __init__(self, job: Job, begun: float) -> None:
        self.job = job
        self.name = jobid.encode(job.id)
        self._r = job.R or {}
        self._hosts = hosts_of(self._r)
        self.pending = set(self._hosts)
        self.left = set(self._hosts)
        self.pids: dict[int, int] = {}
        self.begun = begun
        self.timer: Any = None
        #: The time is over within which a node waits for the others.
        self.is_due = False

    def where(self, rank: int) -> str:
        """A line of the log begins with it."""
        return f"housekeeping: {self._hosts[rank]} (rank {rank}) {self.name}"

    def part(self, of: Set[int]) -> dict[str, Any]:
        """R of some of its nodes."""
        return only(self._r, of)


class Housekeeping:
    """Takes over the resources of jobs, and gives them back to the scheduler."""

    __slots__ = ("_handle", "_log", "_running", "_setting")

    def __init__(self, handle: Handle, log: Log) -> None:
        self._handle = handle
        self._log = log
        self._setting = Setting()
        self._running: dict[int, Tidying] = {}

    def configure(self, setting: Setting) -> None:
        """For jobs from now on."""
        if setting.is_deprecated:
            self._log.error(f"{_TABLE}.use-systemd-unit is deprecated - ignoring")
        self._setting = setting

    def take(self, job: Job) -> None:
        """A job needs its resources no more: they go back, at once or when they are tidied up."""
        if not self._setting.command:
            self._handle.request("sched.free", {"id": job.id, "R": job.R, "final": True})
            return
        tidying = self._running[job.id] = Tidying(job, self._handle.time())
        environment = {
            **os.environ,
            "FLUX_JOB_ID": str(job.id),
            "FLUX_JOB_USERID": str(job.userid),
            "FLUX_JOB_RANKS": ranks.format_ranks(tidying.pending),
        }
        cmd = {
            "cmdline": list(self._setting.command), "cwd": os.getcwd(), "env": environment, "opts": {}, "channels": [],
        }  # fmt: skip
        order = {"cmd": cmd, "flags": _OUTPUT, "local_flags": 0}
        self._log.debug(f"housekeeping: {tidying.name} started")
        for rank in sorted(tidying.pending):
            self._handle.stream("rexec.exec", order, self._told, (tidying, rank), nodeid=rank)

    def _told(self, response: Message, of: tuple[Tidying, int]) -> None:
        tidying, rank = of
        if response.errnum:
            if response.errnum != errnums.ENODATA:
                self._fault(tidying, rank, response.payload_str or errnums.strerror(response.errnum))
            self._done(tidying, rank)
            return
        told = response.unpack(Told)
        if told.type == "started":
            tidying.pids[rank] = told.pid
        elif told.type == "output" and (data := told.io.get("data")):
            say = self._log.error if told.io.get("stream") == "stderr" else self._log.info
            say(f"{tidying.where(rank)}: {str(data).rstrip()}")
        elif told.type == "finished" and told.status:
            signum = told.status & 0x7F
            self._fault(tidying, rank, signal.strsignal(signum) if signum else "nonzero exit code")

    def _fault(self, tidying: Tidying, rank: int, why: str | None) -> None:
        self._log.error(f"{tidying.where(rank)}: {why}")

    def _done(self, tidying: Tidying, rank: int) -> None:
        tidying.pending.discard(rank)
        tidying.pids.pop(rank, None)
        after = self._setting.release_after
        if not tidying.pending or after == 0 or tidying.is_due:
            self._give_back(tidying)
        elif after > 0 and tidying.timer is None:
            tidying.timer = self._handle.call_later(after, self._due, tidying)
        if not tidying.pending:
            if tidying.timer is not None:
                tidying.timer.cancel()
            self._running.pop(tidying.job.id, None)
            self._log.debug(f"housekeeping: {tidying.name} complete")

    def _due(self, tidying: Tidying) -> None:
        tidying.is_due = True
        self._give_back(tidying)

    def _give_back(self, tidying: Tidying) -> None:
        done = tidying.left - tidying.pending
        if done:
            tidying.left -= done
            order = {"id": tidying.job.id, "R": tidying.part(done), "final": not tidying.left}
            self._handle.request("sched.free", order)

    # -- what others ask

    def kill(self, wish: HousekeepingKill) -> None:
        """A signal for what tidies up, of one job or all, on some ranks or all. Raises RequestError(EINVAL)."""
        if not 0 < wish.signum < signal.NSIG:
            raise RequestError(errnums.EINVAL, f"signal {wish.signum} is none: give 1 to {signal.NSIG - 1}")
        try:
            wanted = None if wish.ranks is None else set(ranks.parse_ranks(wish.ranks, RANKS_MAX))
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        for tidying in self._running.values():
            if wish.jobid in (None, tidying.job.id):
                for rank, pid in tidying.pids.items():
                    if wanted is None or rank in wanted:
                        self._handle.request("rexec.kill", {"pid": pid, "signum": wish.signum}, nodeid=rank)

    def held(self) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Jobs whose resources are being tidied up, and R of what was not given back."""
        for tidying in self._running.values():
            yield tidying.job, tidying.part(tidying.left)

    def stats(self) -> dict[str, Any]:
        """As flux-core has it in the module's statistics."""
        running = {
            tidying.name: {
                "t_start": tidying.begun,
                "pending": ranks.format_ranks(tidying.pending),
                "allocated": ranks.format_ranks(tidying.left),
            }
            for tidying in self._running.values()
        }
        command = " ".join(self._setting.command)
        return {
            "running": running,
            "config": {"release-after": self._setting.release_after, "command": command},
        }
