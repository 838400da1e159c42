"""Knows what is done when an entry's run begins and ends: commands, events, requests; not when that is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from brokersim.brokermod import BrokerLogger, Handle, Message, errnums

from .action import Action, Ask, Publish, ShellCommand
from .command import ShellRun, Told
from .entry import Entry, Task


class Running:
    """The commands that run now; ``on_stop`` hears of an entry that has failed too often."""

    __slots__ = ("_do", "_handle", "_log", "_on_stop", "_runs")

    def __init__(self, handle: Handle, log: BrokerLogger, on_stop: Callable[[Entry], object]) -> None:
        self._handle = handle
        self._log = log
        self._on_stop = on_stop
        self._runs: dict[int, ShellRun] = {}
        self._do: dict[type[Action], Callable[[Entry, Any], None]] = {
            ShellCommand: self._run_command,
            Publish: self._publish,
            Ask: self._ask,
        }

    def __len__(self) -> int:
        return len(self._runs)

    def kill(self, entry: Entry) -> None:
        """End an entry's command, if one runs."""
        run = self._runs.get(entry.id)
        if run is not None:
            run.kill(signal.SIGTERM)

    def end(self) -> None:
        """No command outlives the module."""
        for run in self._runs.values():
            run.kill(signal.SIGKILL)

    def begin(self, entry: Entry) -> None:
        """It is due, and waits for nothing more."""
        entry.began(self._handle.time())
        self._do[type(entry.action)](entry, entry.action)

    def _ended(self, entry: Entry, status: int, note: str) -> None:
        was_stopped = entry.stopped
        entry.ended(self._handle.time(), status, note)
        entry.due_since = 0.0
        if status:
            self._log.error(f'cron-{entry.id}: "{entry.command}": Failed: {note}')
        if entry.stopped and not was_stopped:
            self._on_stop(entry)
            self._log.error(f"cron-{entry.id}: exceeded failure limit of {entry.stop_on_failure}. stopping")

    def _publish(self, entry: Entry, action: Publish) -> None:
        self._handle.publish(action.topic, action.payload)
        self._ended(entry, 0, "")

    def _ask(self, entry: Entry, action: Ask) -> None:
        self._handle.request(action.topic, action.payload, self._answered, entry)

    def _answered(self, response: Message, entry: Entry) -> None:
        note = errnums.errname(response.errnum) if response.errnum else ""
        self._ended(entry, 1 << 8 if response.errnum else 0, note)

    def _run_command(self, entry: Entry, action: ShellCommand) -> None:
        if entry.rank >= self._handle.size:
            assert entry.task is not None
            entry.task.errnum = errnums.EHOSTUNREACH
            self._ended(entry, 1 << 8, f"No route to rank {entry.rank}")
            return
        assert entry.task is not None
        told = Told(
            on_pid=partial(self._runs_now, entry.task),
            on_line=partial(self._output, entry),
            on_end=partial(self._command_ended, entry, entry.task),
        )
        self._runs[entry.id] = ShellRun(self._handle, action, entry.rank, entry.timeout, told)

    def _command_ended(self, entry: Entry, task: Task, status: int, errnum: int) -> None:
        run = self._runs.pop(entry.id)
        if errnum:
            status, note, task.errnum = 127 << 8, errnums.strerror(errnum), errnum
        else:
            note, task.is_timed_out = _note(status, run.timed_out), run.timed_out
        self._ended(entry, status, note)

    def _runs_now(self, task: Task, pid: int) -> None:
        task.pid, task.running = pid, self._handle.time()

    def _output(self, entry: Entry, stream: str, line: str) -> None:
        write = self._log.error if stream == "stderr" else self._log.info
        write(f'cron-{entry.id}[{entry.name}]: rank={entry.rank}: command="{entry.command}": "{line}"')


def _note(status: int, timed_out: bool) -> str:
    if timed_out:
        return "Timeout"
    signum = status & 0x7F
    if signum:
        return f"Killed by signal {signum}"
    return f"Exit {status >> 8}" if status else ""
