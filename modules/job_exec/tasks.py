"""Knows what the shell of a real job prepares, runs and tidies up: files, environment, commands; not its records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from brokersim.brokermod import Handle, files, job_facts, jobid

from .commands import ELSEWHERE, Commands, Write, working_directory
from .environment import drop_tmpdir, make_tmpdir, task_environment
from .files import extract
from .output import Names, Outputs
from .plan import RunPlan, files_of
from .pmi import VALUE_MAX, Pmi, PmiPlan, to_pmi
from .pmi_tasks import PmiTasks
from .stdin import Stdin
from .terminals import Terminals

TRACE, INFO, NOTICE, ERROR, FATAL = 7, 6, 5, 3, 0
#: Lines for the job's output log: event name and context.
Lines = list[tuple[str, dict[str, Any]]]


class ShellDied(Exception):
    """The shell cannot come up: why, its wait status, and what it leaves in the output log."""

    def __init__(self, text: str, status: int, lines: Lines) -> None:
        super().__init__(text)
        self.status = status
        self.lines = [*lines, log_line(FATAL, text)]


class Tasks:
    """The tasks of one real job."""

    __slots__ = (
        "_addresses", "_commands", "_environment", "_handle", "_job", "_names", "_outputs", "_plan", "_templates",
        "_tmpdir", "pmi", "terminals",
    )  # fmt: skip

    def __init__(self, handle: Handle, plan: RunPlan, job: int) -> None:
        self._handle = handle
        self._plan = plan
        self._job = job
        self._tmpdir = ""
        self._environment: dict[str, str] = {}
        #: Those variables that hold tags.
        self._templates: dict[str, str] = {}
        self._names: Names | None = None
        self._addresses: Mapping[int, str] = {}
        self._outputs: Outputs | None = None
        self._commands: Commands | None = None
        self.terminals = Terminals(plan.pty, handle.time())
        #: By which the tasks find each other; None where they did not want it.
        self.pmi: PmiTasks | None = None

    def prepare(self, jobspec: Mapping[str, Any], addresses: Mapping[int, str]) -> Lines:
        """Open what has to be open: lines for the output log; brokers' ``addresses`` by rank. Raises ShellDied."""
        plan = self._plan
        self._addresses = addresses
        try:
            job_facts.check_jobspec(jobspec)  # anyone may have changed J since it was submitted
        except ValueError as error:
            raise ShellDied(f"shell_init: {error}", 1 << 8, []) from None
        _check_options(jobspec)
        if plan.map_fault:
            raise ShellDied(plan.map_fault, 1 << 8, [])
        try:
            wire = to_pmi(_options(jobspec))
            self.pmi = self._to_pmi(wire) if wire.is_on else None
            self._tmpdir = make_tmpdir(self._handle, self._job)
            self._environment = task_environment(self._handle, plan, jobspec, self._job, self._tmpdir)
            files = files_of(jobspec)
            if files is not None:
                extract(files, self._tmpdir)
        except (OSError, ValueError) as error:
            raise ShellDied(f"shell_init: {error}", 1 << 8, []) from None
        lines = self._directory()
        self._check_input()
        names = Names(
            job=self._job, name=plan.name, ntasks=plan.ntasks, nnodes=plan.nnodes, tmpdir=self._tmpdir,
            cwd=working_directory(plan.cwd) or "", taskmap=plan.taskmap,
        )  # fmt: skip
        self._names = names
        self._templates = _templates(self._environment, jobspec)
        self._outputs = Outputs(plan.output, names)
        try:
            redirects = self._outputs.open()
        except OSError as error:
            why = log_line(ERROR, f"open: {error.filename}: {error.strerror}")
            raise ShellDied(f"shell_init: {error.strerror}", 1 << 8, [*lines, why]) from None
        return [*lines, *(("redirect", context) for context in redirects)]

    def _directory(self) -> Lines:
        cwd = self._plan.cwd
        if working_directory(cwd) == cwd:
            return []
        why = "Permission denied" if os.path.isdir(cwd or "") else "No such file or directory"
        text = (
            f"host {os.uname().nodename}: Could not change dir to {cwd}: {why}. Going to {ELSEWHERE} instead"
        )
        return [log_line(ERROR, text)]

    def _check_input(self) -> None:
        path = self._plan.stdin
        if path is None:
            return
        try:
            os.close(files.open_input(self._plan.stdin_file or path))
        except OSError as error:
            # As in flux-core the shell is terminated for it, which its status tells.
            text = f"error opening input file '{path}': {error.strerror}"
            raise ShellDied(text, 15, []) from None

    def commands(self, write: Write, stdin: Stdin) -> Commands:
        """The commands, not started yet."""
        assert self._outputs is not None and self._names is not None, "prepare comes first"
        tasks, render = range(self._plan.ntasks), self._names.render
        words = [[render(word, task) for word in self._plan.command] for task in tasks]
        environments = [self._environment_of(task, render) for task in tasks]
        channels = self.pmi.channels if self.pmi is not None else [None] * self._plan.ntasks
        self._commands = Commands(
            self._handle,
            self._plan,
            words,
            environments,
            write,
            stdin,
            self._outputs,
            channels,
            self.terminals,
        )
        return self._commands

    def _to_pmi(self, plan: PmiPlan) -> PmiTasks:
        run, level = self._plan, self._handle.attr_get("instance-level")
        given = {"flux.instance-level": str(int(level) + 1)} if level else {}
        if plan.has_map:
            whole, short = json.dumps(run.taskmap.to_json(), separators=(",", ":")), run.taskmap.to_pmi()
            # What is longer than a value may be is left out: who looks for it does without.
            given |= {
                key: value
                for key, value in (("flux.taskmap", whole), ("PMI_process_mapping", short))
                if len(value) < VALUE_MAX
            }
        return PmiTasks(Pmi(jobid.encode(self._job), run.taskmap.nodes, given), run.ntasks)

    def _environment_of(self, task: int, render: Callable[[str, int], str]) -> dict[str, str]:
        uri = self._addresses.get(self._plan.rank_of(task))
        return {
            **self._environment,
            **{name: render(value, task) for name, value in self._templates.items()},
            **({"FLUX_URI": uri, "BROKERSIM_URI": uri} if uri else {}),
            **({"PMI_RANK": str(task), "PMI_SIZE": str(self._plan.ntasks)} if self.pmi is not None else {}),
            **({"FLUX_TERMINUS_SESSION": "0"} if self.terminals.of(task) is not None else {}),
            "FLUX_TASK_RANK": str(task),
            "FLUX_TASK_LOCAL_ID": str(self._plan.taskmap.place_of(task)),
        }

    def ends(self) -> list[tuple[str, int]]:
        """Stream and task of each end that stands in the output log."""
        return self._outputs.ends() if self._outputs is not None and self.first() else []

    def first(self) -> tuple[int, int] | None:
        """The task that ended first and its wait status, None if none ran."""
        return self._commands.first if self._commands is not None else None

    def tidy(self) -> None:
        """Close and remove what was opened."""
        if self._outputs is not None:
            self._outputs.close()
        drop_tmpdir(self._tmpdir)


def _options(jobspec: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Any = jobspec
    for key in ("attributes", "system", "shell", "options"):
        options = options.get(key) if isinstance(options, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def _templates(environment: Mapping[str, str], jobspec: Mapping[str, Any]) -> dict[str, str]:
    """The variables with tags: in the environment, or put beside it by Flux's commands (option ``env-expand``)."""
    beside = _options(jobspec).get("env-expand")
    more = beside.items() if isinstance(beside, Mapping) else ()
    return {
        name: value
        for name, value in (*environment.items(), *more)
        if isinstance(value, str) and "{{" in value
    }


def _check_options(jobspec: Mapping[str, Any]) -> None:
    """Raises ShellDied for a shell option that changes what runs and cannot be had here: no plugins."""
    options = _options(jobspec)
    for name in ("initrc", "userrc"):
        path = options.get(name)
        if path is not None:
            why = (
                "shell plugins are not run here" if os.path.exists(str(path)) else "No such file or directory"
            )
            raise ShellDied(f"shell option {name}: {path}: {why}", 1 << 8, [])
    if options.get("stage-in"):
        why = "archives are not staged here; the job may run `flux archive extract`"
        raise ShellDied(f"shell option stage-in: {why}", 1 << 8, [])


def log_line(level: int, text: str) -> tuple[str, dict[str, Any]]:
    """A line of the shell's own log in the job's output (RFC 24); level as in syslog."""
    return "log", {"rank": 0, "level": level, "message": text}
