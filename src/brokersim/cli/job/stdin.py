"""Knows how this process's standard input reaches a job that runs a real command; not the job's output."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from base64 import b64encode
from contextlib import suppress
from typing import Final

from brokersim.cli.kvs.eventlog import entries
from brokersim.net.client import Client, Unreachable
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOSPC, RequestError

_CHUNK: Final = 65536
#: Seconds until a piece is offered again to a task that has enough to read.
_PAUSE: Final = 0.05
_OVER: Final = frozenset({errno.EPIPE, errno.ENOSYS})


def forward_stdin(uri: str, job: int) -> None:
    """Send standard input to a job from now on, in the background, on a connection of its own."""
    threading.Thread(target=_forward, args=(uri, job), daemon=True, name="stdin").start()


def _forward(uri: str, job: int) -> None:
    # The job may be over, or the instance gone, at any time; whoever follows the job's log says so.
    with suppress(RequestError, Unreachable, OSError), Client.connect(uri) as client:
        shell = _shell(client, job)
        if shell is None:
            return
        while data := _read():
            if not _send(client, shell, _io(data)):
                return
        _send(client, shell, {"stream": "stdin", "rank": "all", "eof": True})


def _shell(client: Client, job: int) -> JsonObject | None:
    """Where the job's shell takes input, once there is one: the context of ``shell.init``."""
    request = {"id": job, "path": "guest.exec.eventlog", "flags": 0}
    log = client.stream("job-info.eventlog-watch", request, cancel="job-info.eventlog-watch-cancel")
    for answer in log:
        for entry in entries(answer["event"].encode()):
            if entry["name"] == "shell.init":
                context: JsonObject = entry["context"]
                return context
    return None


def _read() -> bytes:
    """What there is to read, ``b""`` at the end or if there is no standard input."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK)
    except (OSError, ValueError, AttributeError):
        return b""


def _io(data: bytes) -> JsonObject:
    io: JsonObject = {"stream": "stdin", "rank": "all"}
    try:
        return {**io, "data": data.decode()}
    except UnicodeDecodeError:
        return {**io, "data": b64encode(data).decode(), "encoding": "base64"}


def _send(client: Client, shell: JsonObject, io: JsonObject) -> bool:
    """False when the job takes no more."""
    while True:
        try:
            client.rpc(f"{shell['service']}.stdin", io, shell["leader-rank"])
            return True
        except RequestError as error:
            if error.errno in _OVER:
                return False
            if error.errno != ENOSPC:
                raise
        time.sleep(_PAUSE)
