"""Knows the requests of the subprocess service of a rank (RFC 42): exec, write, kill, wait, attach, list.

It doesn't know what a process tells while it lives (subprocess). Waits for nothing virtual: a command is real.
"""

from __future__ import annotations

import errno
import signal
from functools import partial
from typing import Final

import msgspec

from brokersim.protocol.errnums import EINVAL, ENOENT, ENOSPC, EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table
from brokersim.services.inside import Insides
from brokersim.services.subprocess import (
    WAITABLE,
    WRITE_CREDIT,
    ExecArgs,
    Io,
    Processes,
    Subprocess,
    buffer_size,
    decode,
)

#: Processes of one rank; each takes four file descriptors.
PROCESSES_MAX: Final = 200


class WriteArgs(msgspec.Struct):
    matchtag: int
    io: Io


class KillArgs(msgspec.Struct):
    pid: int
    signum: int
    label: str | None = None


class AttachArgs(msgspec.Struct):
    pid: int
    flags: int
    label: str | None = None


class WaitArgs(msgspec.Struct):
    pid: int
    label: str | None = None


def exec_(server: BrokerEndpoint, request: Message) -> None:
    """Start a process: a stream that ends with it, or one answer and a process in the background."""
    args = request.unpack(ExecArgs)
    _check(server, args, not request.is_streaming)
    if request.is_noresponse:
        raise RequestError(EPROTO, "rexec.exec: nobody would be told of it")
    program = server.broker.program(args.cmd.cmdline[0])
    if program is not None and request.is_streaming:
        server.kept(Insides).start(request, args, program)
        return
    if len(server.kept(Processes)) >= PROCESSES_MAX:
        raise RequestError(errno.EAGAIN, f"{PROCESSES_MAX} processes run on rank {server.rank} already")
    process = Subprocess(server, request, args)
    server.start_task(process.run)
    server.kept(Processes).append(process)
    if not process.is_background:
        server.add_stream(request, process.leave)


def _check(server: BrokerEndpoint, args: ExecArgs, is_background: bool) -> None:
    cmd = args.cmd
    if not cmd.cmdline or not cmd.cmdline[0]:
        raise RequestError(EPROTO, "command string is empty")
    words = (*cmd.cmdline, cmd.cwd or "", *cmd.env, *cmd.env.values())
    if any("\0" in word for word in words) or any(not name or "=" in name for name in cmd.env):
        raise RequestError(
            EINVAL, "error parsing command string: a NUL, or a variable without or with = in its name"
        )
    if cmd.label and any(one.cmd.label == cmd.label for one in server.kept(Processes)):
        raise RequestError(errno.EEXIST, "command label is not unique")
    if cmd.channels:
        raise RequestError(EINVAL, "auxiliary channels are not available here")
    if is_background and args.flags & WRITE_CREDIT:
        raise RequestError(EINVAL, "write-credit flag is not allowed in background mode")
    if not is_background and args.flags & WAITABLE:
        raise RequestError(EINVAL, "waitable flag only supported in background mode")


def write(server: BrokerEndpoint, request: Message) -> None:
    """Input for a process, named by the matchtag of its exec request; never answered, late input is dropped."""
    args = request.unpack(WriteArgs)
    data = decode(args.io)
    inside = server.kept(Insides).asked_by(request.sender, args.matchtag)
    if inside is not None:
        inside.feed(data, args.io.eof)
        return
    for process in server.kept(Processes):
        asked = process.request
        if asked.matchtag == args.matchtag and asked.sender == request.sender and not process.is_background:
            if args.io.stream == "stdin" and process.status is None:
                _feed(process, data, args.io.eof)
            return


def _feed(process: Subprocess, data: bytes, is_end: bool) -> None:
    entry = process.command.input
    if entry.pending + len(data) > buffer_size(process.cmd):
        process.fail(ENOSPC)
        return
    entry.add(data)
    if is_end:
        entry.end()


def _find(server: BrokerEndpoint, pid: int, label: str | None) -> Subprocess:
    """By its label from the moment it was asked for, by its number once it has one. Raises RequestError(ESRCH)."""
    for process in server.kept(Processes):
        if process.cmd.label == label if label is not None else process.pid == pid and pid:
            return process
    who = f"label {label}" if label is not None else f"pid {pid}"
    raise RequestError(errno.ESRCH, f"{who} does not belong to any subprocess")


def kill(server: BrokerEndpoint, request: Message) -> None:
    """A signal for a process and what it started."""
    args = request.unpack(KillArgs)
    if not 0 < args.signum < signal.NSIG:
        raise RequestError(EINVAL, f"signal {args.signum} is none: give 1 to {signal.NSIG - 1}")
    inside = server.kept(Insides).find(args.pid) if args.label is None else None
    if inside is not None:
        inside.kill(args.signum)
    else:
        _find(server, args.pid, args.label).command.kill(args.signum)
    server.respond(request)


def _check_started(process: Subprocess) -> None:
    if not process.pid:
        raise RequestError(errno.EBUSY, "subprocess is being started")


def wait(server: BrokerEndpoint, request: Message) -> None:
    """The status of a waitable background process, when it has ended."""
    args = request.unpack(WaitArgs)
    process = _find(server, args.pid, args.label)
    if not process.is_waitable:
        raise RequestError(EINVAL, "process is not waitable")
    _check_started(process)
    if process.attached is not None:
        raise RequestError(errno.EBUSY, "subprocess has a client attached")
    if process.waiter is not None:
        raise RequestError(EINVAL, "process is already being waited on")
    process.waiter = request
    if process.is_over:
        process.reap()
    else:
        server.add_stream(request, partial(_no_longer, process))


def _no_longer(process: Subprocess) -> None:
    process.waiter = None


def attach(server: BrokerEndpoint, request: Message) -> None:
    """A stream of what a background process does from now on, as if it had been started for who asks (RFC 42)."""
    args = request.unpack(AttachArgs)
    if not request.is_streaming:
        raise RequestError(EPROTO, "attach request is missing STREAMING flag")
    try:
        process = _find(server, args.pid, args.label)
    except RequestError as error:
        raise RequestError(ENOENT, error.text) from None
    if not process.is_background:
        raise RequestError(errno.EBUSY, "subprocess is not in background mode")
    _check_started(process)
    if process.attached is not None:
        raise RequestError(errno.EBUSY, "subprocess already has a client attached")
    if process.waiter is not None:
        raise RequestError(errno.EBUSY, "subprocess is being waited on")
    process.attach(request, args.flags)


def list_(server: BrokerEndpoint, request: Message) -> None:
    """The processes of this rank."""
    procs = [process.to_dict() for process in server.kept(Processes) if process.pid]
    procs += server.kept(Insides).to_list()
    server.respond(request, {"rank": server.rank, "procs": procs})


TABLE: Table = {
    "rexec.exec": (exec_, False),
    "rexec.write": (write, False),
    "rexec.kill": (kill, False),
    "rexec.wait": (wait, False),
    "rexec.list": (list_, False),
    "rexec.attach": (attach, False),
}
