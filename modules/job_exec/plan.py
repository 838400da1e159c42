"""Knows what a jobspec says about running: simulated or real, how long, what, where; not how it is done."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

import attrs

from brokersim.brokermod import Remembered, duration, job_facts, ranks

from .output import OutputPlan, to_output, to_size
from .taskmap import ALONE, TaskMap, evenly, rearranged
from .terminals import NO_TERMINALS, PtyPlan, to_pty

#: More nodes than an instance can simulate.
NODES_MAX: Final = 1_000_000
#: Seconds that tasks have when the first has ended (flux-core's).
EXIT_TIMEOUT: Final = 30.0
#: Bytes of standard input that go through the KVS, unless ``input.limit`` says otherwise, and at most (flux-core's).
INPUT_LIMIT: Final = 10 << 20
INPUT_LIMIT_MAX: Final = 32 << 20
_ENDLESS: Final = ("none", "inf", "infinity")


@attrs.frozen(kw_only=True)
class RunPlan:
    """How one job is run. Durations in seconds.

    Simulated jobs take ``run_time`` (0: none, infinite: until they are ended) and end with wait status ``wait_status``;
    ``exception_at`` (init or run) makes them fail there. Real ones run ``command`` ``ntasks`` times.
    ``output_rate`` lines a second are written to the job's output while it runs. ``limit`` ends either (0: none).
    """

    command: tuple[str, ...]
    ntasks: int
    nnodes: int
    #: The ranks its nodes are.
    ranks: tuple[int, ...] = (0,)
    is_real: bool = False
    #: Simulated though the job did not ask for it.
    is_stand_in: bool = False
    run_time: float = 0.0
    limit: float = 0.0
    #: It has a time limit, or may be given one; the others run as long as they would take.
    is_limited: bool = True
    wait_status: int = 0
    #: It begins when it is told to (option ``override``), and ends so, too, unless it has a ``run_time``.
    is_override: bool = False
    exception_at: str = ""
    output_rate: float = 0.0
    cwd: str | None = None
    #: A file to read standard input from; None: from whoever attaches (service ``stdin``).
    stdin: str | None = None
    #: Bytes of it, if it comes from whoever attaches.
    stdin_limit: int = INPUT_LIMIT
    output: OutputPlan = attrs.field(factory=OutputPlan)
    name: str = ""
    #: The shell says what it does, in the job's output: 1 its course, 2 what tasks ask of it, too.
    verbose: int = 0
    #: Signal and seconds: it is sent so long before the time limit (shell option ``signal``).
    warning: tuple[int, float] | None = None
    #: When the first task has ended: seconds the others have yet, None for as long as they like (option
    #: ``exit-timeout``), and whether they end with it if it failed (``exit-on-error``).
    exit_timeout: float | None = None
    exit_on_error: bool = False
    #: Where its tasks are; a simulated job has none.
    taskmap: TaskMap = ALONE
    #: Which of them have terminals.
    pty: PtyPlan = NO_TERMINALS
    #: Why they cannot be where they were wanted.
    map_fault: str = ""

    def rank_of(self, task: int) -> int:
        """The rank whose node a task belongs to."""
        return self.ranks[min(self.taskmap.nodes[task], len(self.ranks) - 1)]

    @property
    def stdin_file(self) -> str | None:
        """The file of ``stdin``, which is looked for where the tasks are."""
        return None if self.stdin is None else os.path.join(self.cwd or "", self.stdin)


def to_plan(
    jobspec: Mapping[str, Any], r: Mapping[str, Any] | None = None, *, simulate: bool = False
) -> RunPlan:
    """The plan of a sound version 1 jobspec. Raises ValueError that names the attribute that cannot be used.

    A job that does not say itself whether it is simulated (``exec.test``) or real (``brokersim.exec``) is as
    ``simulate`` says.

    Read are ``attributes.system``: duration, cwd, environment, ``exec.test`` (flux-core's: run_duration,
    wait_status, mock_exception), ``shell.options`` (input.stdin, output, signal) and ``brokersim`` (exec, output_rate).
    """
    there = job_facts.counts_in(r) if r else {"node": 0, "core": 0}
    if _is_real(_system(jobspec), simulate):
        return _planned(jobspec, r, there, simulate)
    # Of R a simulated job has these numbers.
    return _PLANS.of((jobspec, there, simulate), lambda: _planned(jobspec, r, there, simulate))


_PLANS: Final[Remembered[RunPlan]] = Remembered()


def _is_real(system: Mapping[str, Any], simulate: bool) -> bool:
    asks = "test" in _mapping(system, "exec")
    return not asks and bool(_mapping(system, "brokersim").get("exec", not simulate))


def _planned(
    jobspec: Mapping[str, Any], r: Mapping[str, Any] | None, there: Mapping[str, int], simulate: bool
) -> RunPlan:
    system = _system(jobspec)
    test = _mapping(_mapping(system, "exec"), "test")
    ours, shell = _mapping(system, "brokersim"), _shell_options(system)
    task = jobspec["tasks"][0]
    limit = _seconds(system, "duration")
    asks = "test" in _mapping(system, "exec")
    is_real = _is_real(system, simulate)
    per = job_facts.per_resource(jobspec)
    ntasks = there[per[0]] * per[1] if per and r else _ntasks(task["count"], jobspec["resources"])
    where, fault = _taskmap(r, ntasks, per, shell.get("taskmap"), system) if is_real else (ALONE, "")
    return RunPlan(
        command=_command(task["command"]),
        ntasks=ntasks,
        nnodes=max(1, there["node"]),
        taskmap=where,
        map_fault=fault,
        pty=to_pty(shell.get("pty"), ntasks) if is_real else NO_TERMINALS,
        ranks=_ranks(r) if r and is_real else (0,),
        is_real=is_real,
        is_stand_in=not is_real and not asks and "exec" not in ours,
        run_time=_run_time(system, test, limit) if asks else limit,
        limit=limit if is_real or "run_duration" in test else 0.0,
        is_limited=is_real or "run_duration" in test,
        wait_status=_status(test.get("wait_status", 0)),
        is_override=bool(test.get("override")),
        exception_at=_phase(test.get("mock_exception", "")),
        output_rate=_rate(ours.get("output_rate", 0)),
        cwd=_cwd(system.get("cwd")),
        stdin=_stdin(system),
        stdin_limit=_stdin_limit(_mapping(shell, "input")),
        output=to_output(_mapping(shell, "output")),
        name=_name(task["command"], system),
        warning=_warning(shell.get("signal", 0)) if is_real else None,
        verbose=_verbose(shell.get("verbose")),
        exit_timeout=_exit_timeout(shell.get("exit-timeout", EXIT_TIMEOUT)) if is_real else None,
        exit_on_error=bool(shell.get("exit-on-error")),
    )


def _ranks(r: Mapping[str, Any]) -> tuple[int, ...]:
    entries = r["execution"]["R_lite"]
    return tuple(rank for entry in entries for rank in ranks.parse_ranks(entry["rank"], NODES_MAX))


def _taskmap(
    r: Mapping[str, Any] | None,
    ntasks: int,
    per: tuple[str, int] | None,
    option: Any,
    system: Mapping[str, Any],
) -> tuple[TaskMap, str]:
    """Where the tasks are, and why not where the option wants them. That ends the job once its shell is there."""
    if not r:
        return TaskMap((0,) * ntasks), ""
    usual = evenly(r, ntasks, per)
    try:
        return rearranged(usual, option, r, _cwd(system.get("cwd")) or ""), ""
    except ValueError as error:
        return usual, str(error)


def _verbose(option: Any) -> int:
    return option if type(option) is int else int(bool(option))


def _mapping(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    # What JSON decodes to, first: asking the abstract class takes ten times as long, and each job is asked often.
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def _system(jobspec: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(jobspec, "attributes"), "system")


def _shell_options(system: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(system, "shell"), "options")


def _seconds(table: Mapping[str, Any], key: str) -> float:
    value = table.get(key, 0.0)
    if isinstance(value, str):
        value = duration.parse_duration(value)
    if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{key} must be a duration of 0 or more, not {value!r:.40}")
    return float(value)


def _run_time(system: Mapping[str, Any], test: Mapping[str, Any], limit: float) -> float:
    """Of a job that asks to be simulated, as flux-core's testexec: 0 is until it is ended, no limit at all no time.

    A number is refused, as there: ``--setattr=...run_duration=5`` has to be ``5s`` on both.
    """
    if "run_duration" in test:
        if not isinstance(test["run_duration"], str):
            raise ValueError(
                f"run_duration must be a duration with its unit, not {test['run_duration']!r:.40}"
            )
        return _seconds(test, "run_duration") or math.inf
    return limit or (math.inf if "duration" in system else 0.0)


def _status(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 0xFFFF:
        raise ValueError(f"exec.test.wait_status must be 0 to 65535, not {value!r:.40}")
    return value


def _phase(value: Any) -> str:
    if value not in ("", "init", "run"):
        raise ValueError(f"exec.test.mock_exception must be init or run, not {value!r:.40}")
    return str(value)


def _rate(value: Any) -> float:
    # Above 1,000 lines a second the simulated output would be the load under test, and by mistake.
    if type(value) not in (int, float) or not 0 <= value <= 1000:
        raise ValueError(f"brokersim.output_rate must be 0 to 1000 lines a second, not {value!r:.40}")
    return float(value)


def _command(words: Any) -> tuple[str, ...]:
    if any("\0" in word for word in words):
        raise ValueError("command must have no NUL in its words")
    return tuple(words)


def _name(words: Any, system: Mapping[str, Any]) -> str:
    name = _mapping(system, "job").get("name")
    return name if isinstance(name, str) and name else words[0].rsplit("/", 1)[-1]


def _cwd(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise ValueError(f"cwd must be a string without NUL, not {value!r:.40}")
    return value


def _exit_timeout(option: Any) -> float | None:
    if str(option).lower() in _ENDLESS:
        return None
    try:
        return _seconds({"exit-timeout": option}, "exit-timeout")
    except ValueError as error:
        raise ValueError(f"shell option exit-timeout: {error}") from None


def environment_of(jobspec: Mapping[str, Any]) -> dict[str, str] | None:
    """The environment a jobspec asks for; None for the broker's own. Raises ValueError."""
    return _environment(_system(jobspec).get("environment"))


def files_of(jobspec: Mapping[str, Any]) -> Any:
    """The files it brings along (RFC 37), None for none."""
    return _system(jobspec).get("files")


def _environment(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(_is_variable(*pair) for pair in value.items()):
        raise ValueError("environment must be an object of strings without NUL, names without =")
    return dict(value)


def _stdin(system: Mapping[str, Any]) -> str | None:
    stdin = _mapping(_mapping(_shell_options(system), "input"), "stdin")
    kind, path = stdin.get("type", "service"), stdin.get("path")
    if kind == "service":
        return None
    if kind != "file" or not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("shell.options.input.stdin must be type service, or type file and a path")
    return path


def _stdin_limit(options: Mapping[str, Any]) -> int:
    timeout = options.get("batch-timeout", 0.5)  # each piece is written as it comes
    if type(timeout) not in (int, float) or not 0 <= timeout <= sys.float_info.max:
        raise ValueError(f"invalid input.batch-timeout option: {timeout!r:.40}; give seconds")
    return to_size("input.limit", options.get("limit", INPUT_LIMIT), INPUT_LIMIT_MAX)


def _is_variable(name: Any, text: Any) -> bool:
    return isinstance(name, str) and isinstance(text, str) and "=" not in name and "\0" not in name + text


def _warning(option: Any) -> tuple[int, float] | None:
    """As flux-core's shell has it: USR1 60 s before the end, unless the option says otherwise; 0 for none."""
    if option == 0:
        return None
    options = {} if type(option) is int else option
    if not isinstance(options, Mapping):
        raise ValueError(
            f"shell option signal must be an object with signum and timeleft, not {option!r:.40}"
        )
    signum = options.get("signum", signal.SIGUSR1)
    if type(signum) is not int or not 0 < signum < signal.NSIG:
        raise ValueError(f"shell option signal.signum must be 1 to {signal.NSIG - 1}, not {signum!r:.40}")
    return signum, _seconds({"signal.timeleft": options.get("timeleft", 60.0)}, "signal.timeleft")


def _ntasks(count: Mapping[str, Any], resources: Any) -> int:
    if "total" in count:
        return int(count["total"])
    slots, vertices = 1, resources
    while vertices:
        vertex = vertices[0]
        many = vertex["count"]
        slots *= many["min"] if isinstance(many, Mapping) else many
        if vertex["type"] == "slot":
            break
        vertices = vertex.get("with")
    return slots * int(count["per_slot"])
