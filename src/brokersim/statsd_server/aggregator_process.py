"""Knows how another program that is a statsd server is started, awaited, watched and stopped; not what it does."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from brokersim.statsd_server.udp import parse_address

#: Seconds until it has to answer: node starts in 0.3, a JVM in a few.
READY_SECONDS: Final = 10.0
#: Seconds it has for its last flush after SIGTERM.
GRACE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02
_TABLES: Final = ("/proc/net/udp", "/proc/net/udp6")


class AggregatorError(Exception):
    """The aggregator cannot be started or does not answer; says which, why, and what would be right."""


class SupervisedAggregator:
    """A statsd server as a child process in a process group of its own.

    ``command`` is split into words as a shell would; ``{host}`` and ``{port}`` in them become the address, which is in
    the environment too: STATSD_HOST, STATSD_PORT, and BROKERSIM_STATS as HOST:PORT. ``address`` None is a free port of
    127.0.0.1. All times are real seconds, whatever clock trio runs on. Raises AggregatorError for no command.
    """

    def __init__(
        self,
        command: str,
        *,
        address: str | None = None,
        ready_s: float = READY_SECONDS,
        grace_s: float = GRACE_SECONDS,
        log: Callable[[str], None] | None = None,
    ) -> None:
        try:
            self.host, self.port = ("127.0.0.1", _free_port()) if address is None else parse_address(address)
            words = shlex.split(command)
        except ValueError as error:
            raise AggregatorError(f"aggregator {command!r}: {str(error).lower()}") from None
        if not words:
            raise AggregatorError("the aggregator's command is empty; give what starts a statsd server")
        self.command = command
        self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        #: The exit code, or minus the number of the signal that ended it; None while it runs.
        self.exit_code: int | None = None
        #: Did it end before it was told to?
        self.died = False
        self._words = [self._filled(word) for word in words]
        self._ready_s = ready_s
        self._grace_s = grace_s
        self._log = log or partial(print, file=sys.stderr, flush=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._last_words = ""
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._is_stopping = False

    def _filled(self, word: str) -> str:
        return word.replace("{host}", self.host).replace("{port}", str(self.port))

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SupervisedAggregator]:
        """It answers for the duration of the block; that it dies meanwhile is logged, and the block goes on.

        Raises AggregatorError if it does not come to answer; it is gone afterwards in any case.
        """
        self._start()
        try:
            # In threads: trio's clock may be simulated, and a child process takes real time.
            await trio.to_thread.run_sync(self._wait_ready, abandon_on_cancel=True)
            threading.Thread(
                target=self._watch, args=[trio.lowlevel.current_trio_token()], daemon=True
            ).start()
            yield self
        finally:
            self._is_stopping = True  # from here on its end is no accident
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._stop)

    def _start(self) -> None:
        if is_bound(self.host, self.port):
            raise AggregatorError(
                f"aggregator {self.command!r}: another program listens on udp {self.address} already; "
                "choose another port, or leave the aggregator away"
            )
        environment = {
            **os.environ,
            "STATSD_HOST": self.host,
            "STATSD_PORT": str(self.port),
            "BROKERSIM_STATS": self.address,
        }
        try:
            self._process = subprocess.Popen(
                self._words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's ^C is not for it: it is stopped last
            )
        except OSError as error:
            raise AggregatorError(
                f"aggregator {self.command!r}: cannot run {self._words[0]!r}: {error.strerror}"
            ) from None
        self._started = time.monotonic()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        """Its talk goes to our stderr, the last of it into an error: stdout is for the instance's command."""
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                text = raw.decode("utf-8", "backslashreplace").rstrip()
                if text:
                    self._last_words = text
                    print(f"aggregator: {text}", file=sys.stderr, flush=True)

    def _wait_ready(self) -> None:
        assert self._process is not None
        while not is_bound(self.host, self.port):
            if self._process.poll() is not None or self._is_stopping:
                self._note_end()
                raise AggregatorError(
                    f"aggregator {self.command!r} {self._end_text()} before it answered{self._last()}"
                )
            if time.monotonic() - self._started > self._ready_s:
                raise AggregatorError(
                    f"aggregator {self.command!r} does not listen on udp {self.address} after {self._ready_s:g} s"
                    f"{self._last()}; it is told the address as STATSD_HOST and STATSD_PORT, or {{host}} and {{port}}"
                )
            time.sleep(_POLL_SECONDS)

    def _last(self) -> str:
        if self._process is not None and self._process.poll() is not None and self._reader is not None:
            self._reader.join(1.0)  # its last words may still be in the pipe
        return f": {self._last_words}" if self._last_words else ""

    def _watch(self, token: trio.lowlevel.TrioToken) -> None:
        assert self._process is not None
        self._process.wait()
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._tell_death)

    def _tell_death(self) -> None:
        if self._is_stopping:
            return
        self.died = True
        self._note_end()
        ran = time.monotonic() - self._started
        self._log(
            f"aggregator {self.command!r} {self._end_text()} after {ran:.1f} s{self._last()}: "
            f"statistics sent to {self.address} are lost from now on"
        )

    def _note_end(self) -> None:
        if self._process is not None:
            self.exit_code = self._process.poll()

    def _end_text(self) -> str:
        code = self.exit_code
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def _stop(self) -> None:
        """SIGTERM to the whole group, time for the last flush, then SIGKILL to what is left of it."""
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self._log(
                f"aggregator {self.command!r} did not end within {self._grace_s:g} s of SIGTERM: killed"
            )
        self._signal(signal.SIGKILL)
        process.wait()
        self._note_end()
        if self._reader is not None:
            self._reader.join(1.0)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _free_port() -> int:
    """A port that is free for UDP and TCP now; between this and its use another program may take it."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            with suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port


def is_bound(host: str, port: int) -> bool:
    """Does a UDP socket of this machine receive what is sent there?

    Asks the kernel's tables, which costs no packet; where there are none, an empty packet that is refused or not.
    """
    tables = [Path(table) for table in _TABLES if Path(table).exists()]
    if not tables:
        return _is_taken(host, port)
    wanted = f":{port:04X}"
    return any(
        len(fields := row.split()) > 1 and fields[1].endswith(wanted)
        for table in tables
        for row in table.read_text().splitlines()[1:]
    )


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
            probe.send(b"")
            time.sleep(_POLL_SECONDS)
            probe.send(b"")
        except OSError:
            return False
    return True
