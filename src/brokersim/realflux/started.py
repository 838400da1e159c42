"""Knows how a real Flux is started for a measurement, and ended; not what is measured in it.

`flux start` begins brokers, and those begin processes of modules; killed, it leaves them behind. With an idle hook in
every module such an orphan takes all the CPU there is, for ever. So each is begun in a session of its own, and what is
left of the session is killed at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from brokersim.realflux.place import Flux, NoFlux, environment

#: Runs inside `flux start`: says where the instance is, and keeps it until we close its input.
INSIDE: Final = "import os, sys; print(os.environ['FLUX_URI'], flush=True); sys.stdin.read()"
#: Seconds a Flux may take to end.
_PATIENCE: Final = 60.0


@contextmanager
def started(flux: Flux, size: int = 1, added: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of an instance of ``size`` brokers, which ends with the block. Raises NoFlux."""
    command = [str(flux.command), "start", f"--test-size={size}", sys.executable, "-c", INSIDE]
    running = subprocess.Popen(
        command,
        env=environment() | dict(added or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdin is not None and running.stdout is not None
    try:
        uri = running.stdout.readline().strip()
        if not uri.startswith("local://"):
            raise NoFlux(f"`{flux.command} start` did not start an instance: it said {uri!r}")
        yield uri
    finally:
        running.stdin.close()
        try:
            running.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        finally:
            kill_session(running.pid)
            running.stdout.close()


def kill_session(session: int) -> None:
    """Kill every process of a session whose leader was ``session``, in whatever group it is."""
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
