"""Knows how a real Flux is started for a measurement, and ended; not what is measured in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from brokersim.realflux.place import Flux, NoFlux, environment

#: Runs inside `flux start`: says where the instance is, and keeps it until we close its input.
_INSIDE = "import os, sys; print(os.environ['FLUX_URI'], flush=True); sys.stdin.read()"
#: Seconds a Flux may take to end.
_PATIENCE = 60.0


@contextmanager
def started(flux: Flux, size: int = 1, added: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of an instance of ``size`` brokers, which ends with the block. Raises NoFlux."""
    command = [str(flux.command), "start", f"--test-size={size}", sys.executable, "-c", _INSIDE]
    running = subprocess.Popen(
        command,
        env=environment() | dict(added or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
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
        running.stdout.close()
