"""Knows one cron entry: what it runs, its schedule, its counts and its last tasks; not how it is run."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from brokersim.brokermod import errnums

from .action import Action
from .schedule import Schedule

#: Tasks kept in an entry's history, at most; flux-core's default is the last one.
HISTORY_MAX = 1000
#: Runs in a row that were over before the next came due, after which one that is not is news again. One alone is not
#: enough: what is due each second and runs at each heartbeat has one in each.
RUNS_IN_TIME = 10


@attrs.define(eq=False)
class Task:
    """One run of an entry. Times are seconds since the epoch; ``status`` is a wait status, -1 while it runs.

    ``note`` is how it ended, for people; ``errnum`` why it could not be started.
    """

    rank: int
    created: float
    started: float
    running: float = 0.0
    ended: float = 0.0
    pid: int = 0
    status: int = -1
    note: str = ""
    errnum: int = 0
    is_timed_out: bool = False

    @property
    def state(self) -> str:
        """flux-core's words, but for requests and events, which end by an errnum's name."""
        if self.errnum:
            return "Rexec Failure" if self.errnum == errnums.EHOSTUNREACH else f"Exec Failure: {self.note}"
        if not self.ended:
            return "Running"
        if self.is_timed_out:
            return "Timeout"
        if self.pid and self.status:
            return "Failed"
        return self.note or "Exited"

    def to_dict(self) -> dict[str, Any]:
        """What lists show of it, under flux-core's keys."""
        shown: dict[str, Any] = {
            "rank": self.rank,
            "pid": self.pid,
            "status": self.status,
            "state": self.state,
        }
        shown["create-time"] = self.created
        if self.errnum:
            shown["rexec_errno" if self.errnum == errnums.EHOSTUNREACH else "exec_errno"] = self.errnum
        if self.is_timed_out:
            shown["timedout"] = True
        if self.ended:
            signum = self.status & 0x7F
            shown["code"] = 128 + signum if signum else self.status >> 8
        shown["start-time"] = self.started
        if self.running:
            shown["running-time"] = self.running
        if self.ended:
            shown["end-time"] = self.ended
        return shown


@attrs.define(eq=False, kw_only=True)
class Entry:
    """A cron entry. At most one task of it runs or waits at a time; a run that comes due meanwhile is dropped."""

    id: int
    name: str
    command: str
    action: Action
    type: str
    schedule: Schedule
    ctime: float
    rank: int = 0
    repeat: int = 0
    stop_on_failure: int = 0
    timeout: float = -1.0
    stopped: bool = True
    starttime: float = 0.0
    lastrun: float = 0.0
    count: int = 0
    failcount: int = 0
    total: int = 0
    success: int = 0
    failure: int = 0
    deferred: int = 0
    #: The run under way, or one that waits for the sync event.
    task: Task | None = None
    is_waiting: bool = False
    #: When the run that waits came due.
    due_since: float = 0.0
    #: Did a run come due while this one was under way or waited? How many in a row had none, as far as that matters.
    is_late: bool = False
    in_time: int = RUNS_IN_TIME
    history: deque[Task] = attrs.field(factory=lambda: deque(maxlen=1))

    def start(self, now: float) -> None:
        """Let it come due. Raises ValueError if it is started already."""
        if not self.stopped:
            raise ValueError(f"cron-{self.id} is not stopped")
        self.schedule.start(now)
        self.starttime = now
        self.count = self.failcount = 0
        self.in_time = RUNS_IN_TIME
        self.stopped = False

    def stop(self) -> None:
        """Let it come due no more; a task under way goes on. Raises ValueError if it is stopped already."""
        if self.stopped:
            raise ValueError(f"cron-{self.id} is stopped already")
        self.schedule.stop()
        self.stopped = True

    def due(self) -> bool:
        """It came due: True if a run is to begin, False if one is under way or waits: this one counts for nothing."""
        if self.task is not None or self.is_waiting:
            self.is_late = True
            return False
        self.count += 1
        self.total += 1
        if self.count == self.repeat and not self.stopped:
            self.stop()
        return True

    def has_news(self) -> bool:
        """A run came due too early, and that is new: told once, until ``RUNS_IN_TIME`` runs had none."""
        is_new, self.in_time = self.in_time >= RUNS_IN_TIME, 0
        return is_new

    def began(self, now: float) -> Task:
        """A run begins."""
        self.is_waiting = False
        self.lastrun = now
        self.task = Task(self.rank, self.due_since or now, now)
        return self.task

    def ended(self, now: float, status: int, note: str) -> None:
        """The run is over with a wait status (0: success)."""
        task, self.task = self.task, None
        assert task is not None
        task.ended, task.status, task.note = now, status, note
        self.history.appendleft(task)
        self.in_time = 0 if self.is_late else self.in_time + 1
        self.is_late = False
        if status == 0:
            self.success += 1
        else:
            self.failure += 1
            self.failcount += 1
            if self.stop_on_failure and self.failcount >= self.stop_on_failure and not self.stopped:
                self.stop()

    def to_dict(self) -> dict[str, Any]:
        """The entry as cron.list shows it."""
        tasks = [task.to_dict() for task in (*filter(None, (self.task,)), *self.history)]
        if self.is_waiting:
            tasks.insert(0, self._waiting_task())
        entry: dict[str, Any] = {
            "id": self.id,
            "rank": self.rank,
            "name": self.name,
            "command": self.command,
            "repeat": self.repeat,
            "stopped": self.stopped,
            "type": self.type,
        }
        if self.timeout >= 0:
            entry["timeout"] = self.timeout
        stats = {name: getattr(self, name) for name in _STATS}
        return {**entry, "stats": stats, "typedata": self.schedule.typedata(), "tasks": tasks}

    def _waiting_task(self) -> dict[str, Any]:
        """The run that waits for the sync event, as flux-core shows it."""
        return {
            "rank": self.rank, "pid": 0, "status": 0, "state": "Deferred", "create-time": self.due_since,
        }  # fmt: skip


_STATS = ("ctime", "starttime", "lastrun", "count", "failcount", "total", "success", "failure", "deferred")
