"""Knows the service runat: the command lines a rank runs at a point of its life (rc1, cleanup, rc3), and how one ends.

When that point is reached is not known here. Source: the service as observed in flux-core 0.88.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

import msgspec

from brokersim.host.command import Command
from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.routing import logring
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint, Table
from brokersim.services.environment import variables_of
from brokersim.services.subprocess import Lines

#: What no process of the instance has in its environment, though the instance's own has: it speaks of a job around it.
OF_THE_JOB_AROUND: Final = (
    "FLUX_JOB_ID", "FLUX_JOB_ID_PATH", "FLUX_JOB_SIZE", "FLUX_JOB_NNODES", "FLUX_JOB_TMPDIR", "FLUX_TASK_RANK",
    "FLUX_TASK_LOCAL_ID", "FLUX_KVS_NAMESPACE", "FLUX_PROXY_REMOTE", "FLUX_ENCLOSING_ID", "PMI_*", "PMIX_*",
    "FLUX_PMI_LIBRARY_PATH", "I_MPI_PMI_LIBRARY", "NOTIFY_SOCKET", "PALS_*",
)  # fmt: skip
#: The same, of scripts only: a program may be one of several that Slurm starts, and know which by that.
_NOT_FOR_SCRIPTS: Final = ("SLURM_*",)
CLEANUP: Final = "cleanup"
#: What the log calls the command an instance is there for.
PROGRAM: Final = "rc2.0"


class PushArgs(msgspec.Struct):
    """Payload of runat.push: what runs when, in the order given, before all that was pushed earlier."""

    name: str
    commands: list[str]


class Scripts:
    """The command lines of one rank, by the name of the point at which they run."""

    def __init__(self, server: BrokerEndpoint) -> None:
        self._broker = server.broker
        self._lines: dict[str, list[str]] = {}
        self._running: Command | None = None
        self._is_aborted = False

    def has(self, name: str) -> bool:
        """Is there anything to be run?"""
        return bool(self._lines.get(name))

    def push(self, name: str, lines: list[str]) -> None:
        """Each is put before those that are there, as upstream does; its command gives them last line first."""
        kept = self._lines.setdefault(name, [])
        for line in lines:
            kept.insert(0, line)

    async def run(self, name: str, environment: Mapping[str, str]) -> int:
        """Run all, one after another, whatever becomes of each; the exit code of the first that failed, or 0."""
        self._is_aborted = False
        code = 0
        for index, line in enumerate(self._lines.pop(name, [])):
            if not self._is_aborted:
                code = await self._run_line(f"{name}.{index}", line, environment) or code
        return code

    def abort(self) -> None:
        """End what runs by SIGHUP, asked again by SIGKILL, and leave out the rest."""
        signum = signal.SIGKILL if self._is_aborted else signal.SIGHUP
        self._is_aborted = True
        if self._running is not None:
            self._running.kill(signum)

    async def _run_line(self, name: str, line: str, environment: Mapping[str, str]) -> int:
        lines = {stream: Lines(True) for stream in ("stdout", "stderr")}
        command = self._running = Command(
            (environment.get("SHELL") or "/bin/bash", "-c", line), None, environment, stdin=os.devnull
        )
        began = self._broker.instance.wall_time()
        try:
            status = await command.run(partial(self._output, name, lines), _room)
        except OSError as error:
            words, code = error.strerror or str(error), 127 if isinstance(error, FileNotFoundError) else 126
        else:
            words, code = how_it_ended(status)
            if code == 0 and self._is_aborted:
                words, code = "aborted after exit with rc=0", 1
        self._running = None
        log_end(self._broker, name, line, words, code, self._broker.instance.wall_time() - began)
        return code

    def _output(self, name: str, lines: Mapping[str, Lines], stream: str, data: bytes) -> None:
        level = logring.ERR if stream == "stderr" else logring.INFO
        for line in lines[stream].feed(data):
            if line:
                self._broker.write_log(level, "broker", f"{name}: {line.decode(errors='replace')}")


async def _room() -> None:
    """The log has room always: it forgets."""


def how_it_ended(status: int) -> tuple[str, int]:
    """A wait status in words, and the exit code a shell would make of it."""
    number = status & 0x7F
    if number:
        return signal.strsignal(number) or f"Signal {number}", 128 + number
    return "Exited", status >> 8


def log_end(broker: Broker, name: str, line: str, words: str, code: int, seconds: float) -> None:
    """A line in the log that says how a command ended, and after how long; an error unless it is the program's end.

    What a program means by its exit code is nobody's error, and whoever started the instance sees it anyway.
    """
    level = logring.ERR if code and name != PROGRAM else logring.INFO
    broker.write_log(level, "broker", f"{name}: {line} {words} (rc={code}) {seconds:.1f}s")


def without(variables: Mapping[str, str], globs: Iterable[str] = OF_THE_JOB_AROUND) -> dict[str, str]:
    """The variables that none of the globs fits; FLUX_ENCLOSING_ID stands for the job around."""
    patterns = tuple(globs)
    left = {
        name: value
        for name, value in variables.items()
        if not any(fnmatchcase(name, one) for one in patterns)
    }
    job = variables.get("FLUX_JOB_ID")
    return left if job is None else {**left, "FLUX_ENCLOSING_ID": job}


def environment_of(broker: Broker) -> dict[str, str]:
    """What a script of a rank finds in its environment: the rank's own, its address, and nothing of a job around."""
    uri = broker.attributes.get("local-uri")
    mine = without(variables_of(broker), (*OF_THE_JOB_AROUND, *_NOT_FOR_SCRIPTS))
    return mine | ({"FLUX_URI": uri, "BROKERSIM_URI": uri} if uri else {})


def scripts_of(broker: Broker) -> Scripts:
    """What a rank has to run."""
    speaker = broker.endpoint
    assert isinstance(speaker, BrokerEndpoint), "it is made so"
    return speaker.kept(Scripts)


def push(server: BrokerEndpoint, request: Message) -> None:
    """Commands to run at a point of this rank's life. Raises RequestError(EPROTO): none, or an empty one."""
    args = request.unpack(PushArgs)
    if not args.commands:
        raise RequestError(EPROTO, "commands array is empty")
    if not all(args.commands):
        raise RequestError(EPROTO, "cannot push an empty command line")
    server.kept(Scripts).push(args.name, args.commands)
    server.respond(request)


TABLE: Final[Table] = {"runat.push": (push, False)}
