"""Knows how a command of a probe is run by the command line, by waiting for it."""

from __future__ import annotations

import os
import signal
import subprocess

from .execution import STDERR_MAX, STDOUT_MAX, Ended, Wish

#: Seconds, as a measurement's are by default.
TIMEOUT = 10.0


def run_here(wish: Wish) -> Ended:
    """The same as through rexec. Raises OSError if it cannot be started, TimeoutError."""
    with subprocess.Popen(
        wish.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=wish.cwd,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise TimeoutError(f"no answer within {TIMEOUT:g} s") from None
    code = process.returncode
    return Ended(
        code=None if code < 0 else code,
        signum=max(0, -code),
        stdout=out[:STDOUT_MAX],
        stderr=err[:STDERR_MAX],
        is_truncated=len(out) > STDOUT_MAX,
    )
