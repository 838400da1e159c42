"""Knows the life of a module that runs as a process of its own: I R F X, and its end. Not processes, not bytes.

Source: flux-core 0.88's module subprocess protocol as observed (docs/modules.md, "Modules as processes").
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from brokersim.host.course import (
    EXITED,
    FINALIZING,
    LOAD_TIMEOUT,
    RUNNING,
    STOP_TIMEOUT,
    Done,
    Life,
    Loaded,
    not_ready,
)
from brokersim.host.life import send_from
from brokersim.host.loader import describe
from brokersim.host.methods import METHODS
from brokersim.host.ports import LocalHome
from brokersim.host.remote_handle import RemoteHandle, Wire
from brokersim.protocol.errnums import (
    ECONNRESET,
    EINVAL,
    ENOENT,
    EPROTO,
    ETIMEDOUT,
    RequestError,
    errname,
    strerror,
)
from brokersim.protocol.message import (
    FLAG_NORESPONSE,
    REQUEST,
    ROLE_LOCAL,
    ROLE_OWNER,
    Message,
)
from brokersim.reactor.watchdog import HANDLER_TIMEOUT
from brokersim.routing import logring

#: The loader that comes with brokersim, and Flux's.
OURS, FLUX = "brokersim", "flux"
#: Seconds from SIGTERM to SIGKILL, and for leaving after the module said it has ended.
KILL_GRACE = 2.0
#: Seconds a module that is cancelled still has to end in good order.
CANCEL_GRACE = 0.25


class _HangWatch:
    """Tells once of a process that neither reads nor sends for a whole period: nobody else is harmed."""

    def __init__(
        self,
        life: Life,
        handle: RemoteHandle,
        wire: Wire,
        *,
        period: Callable[[], float],
        tell: Callable[[str], object],
    ) -> None:
        """``period`` is asked for each (s)."""
        self._life = life
        self._handle = handle
        self._wire = wire
        self._period = period
        self._tell = tell
        self._is_stuck = False
        self._unread = self._sent = 0
        self._look_again()

    def _look_again(self) -> None:
        self._timer = self._life.reactor.call_later(self._period(), self._look)

    def _look(self) -> None:
        self._look_again()
        unread, sent = self._wire.unread(), sum(self._handle.counts[0::2])
        is_stuck = bool(self._life.status == RUNNING and unread and self._unread and sent == self._sent)
        if is_stuck and not self._is_stuck:
            self._tell(f"process {self._wire.pid} does not read its messages: does a handler hang?")
        self._is_stuck, self._unread, self._sent = is_stuck, unread, sent

    def stop(self) -> None:
        self._timer.cancel()


class RemoteModule(Loaded):
    """A module whose file is run by a loader in a process of its own.

    It is INIT until the process says RUNNING; FINALIZING when the process says so; EXITED when the process is gone.
    """

    methods = METHODS
    handle: RemoteHandle

    def __init__(
        self,
        broker: LocalHome,
        name: str,
        path: Path,
        args: tuple[str, ...],
        loaded: Done,
        forget: Callable[[RemoteModule], object],
        *,
        start: Callable[[RemoteModule], Wire],
        loader: str,
    ) -> None:
        """``start(self)`` starts the process, which from then on tells what it says and what becomes of it."""
        self.broker = broker
        self.name = name
        self._path = path
        self.args = args
        self.loader = loader
        self.life = Life(broker.reactor, loaded)
        self._forget = forget
        #: The last line it logged or printed: why it did not load, most likely.
        self.last_words = ""
        #: It ran, and ended of itself in no good order.
        self.has_failed = False
        self._left_with: int | None = None  # the errnum with which it said EXITED
        self._is_asked = False  # to end, by us
        self.wire = start(self)
        self.handle = RemoteHandle(
            broker, name, broker.instance.identities.uuid(broker.rank, name), self, self.wire, self.heard
        )
        self._watch = _HangWatch(
            self.life, self.handle, self.wire, tell=self._log,
            period=partial(self._seconds, "broker.handler-timeout", HANDLER_TIMEOUT),
        )  # fmt: skip
        broker.add_service(name, self.handle)
        broker.add_endpoint(self.handle)
        self._welcome()
        patience = self._seconds("broker.module-load-timeout", LOAD_TIMEOUT)
        self.life.limit(patience, self._end_by_force, ETIMEDOUT, not_ready(name))

    @property
    def path(self) -> Path:
        """The file its code is in."""
        return self._path

    @property
    def pid(self) -> int:
        """Its process, 0 before there is one."""
        return self.wire.pid

    @property
    def sendqueue(self) -> int:
        """Messages not yet given to its socket."""
        return self.wire.queued

    def _seconds(self, attribute: str, default: float) -> float:
        return self.broker.instance.seconds(attribute, default)

    # -- load

    def _welcome(self) -> None:
        instance = self.broker.instance
        payload = {
            "args": list(self.args),
            "attrs": self.broker.attributes.fixed(),  # the others may change, so they are asked for
            "conf": instance.conf,
            "name": self.name,
            "uuid": self.handle.uuid,
        }
        self.tell("welcome", payload)

    def tell(self, topic: str, payload: object = None) -> None:
        """A request of the broker itself to the process, which it does not answer."""
        send_from(self.broker, Message(
            REQUEST, topic, payload, FLAG_NORESPONSE, dst=self.handle, userid=self.broker.owner,
            rolemask=ROLE_OWNER | ROLE_LOCAL, handler=self.handle.peer.forward,
        ))  # fmt: skip

    def set_running(self) -> None:
        """Only its process can say so."""

    def told(self, status: int, errnum: int) -> None:
        """The process says how far it is. Raises RequestError for what is no such step."""
        if status == RUNNING:
            if not self._is_asked:  # else it is on its way out, and whoever loads it is told so at its exit
                self.life.run()
        elif status == FINALIZING:
            self.life.status = FINALIZING
            self.handle.is_quiet = True
            self.broker.stop_serving(self.handle)
            if not self._is_asked:
                self._hurry(self._stop_timeout())
        elif status == EXITED:
            self._left_with = self.life.errnum = errnum
            self._hurry(KILL_GRACE, "has ended and does not exit")
        else:
            raise RequestError(
                EPROTO, f"module.status: {status} is none of 1 (running), 2 (finalizing), 3 (exited)"
            )

    # -- what the process shows

    def heard(self, line: str) -> None:
        """It sent a line to the log."""
        self.last_words = line.strip()

    def said(self, level: int, line: str) -> None:
        """It wrote a line to stdout or stderr."""
        if line.strip():
            self.heard(line)
            self.broker.write_log(level, self.name, line)

    # -- end

    def stop(self, removed: Done | None = None, cancel: bool = False) -> None:
        """Ask the process to end; with ``cancel`` it gets a signal, too. ``removed`` is told when it is gone."""
        self.life.tell_when_over(removed)
        if self._is_over:
            return
        if not self._is_asked:
            self._is_asked = True
            if self.life.status < FINALIZING:
                self.tell(f"{self.name}.shutdown")
            self._hurry(self._stop_timeout())
        if cancel:
            self._hurry(CANCEL_GRACE)

    def _stop_timeout(self) -> float:
        return self._seconds("broker.module-stop-timeout", STOP_TIMEOUT)

    def _hurry(self, seconds: float, why: str = "refuses to stop") -> None:
        """If it is not gone in so many seconds it is made to go."""
        self.life.limit(seconds, self._terminate, why)

    def _terminate(self, why: str) -> None:
        self._is_asked = True
        self._log(f"{why}: SIGTERM to process {self.pid}")
        self.wire.terminate()
        self.life.limit(KILL_GRACE, self._kill)

    def _kill(self) -> None:
        self._log(f"ignores SIGTERM: process {self.pid} is killed")
        self.wire.kill()

    def failed_to_start(self, error: OSError) -> None:
        """There is no process: the command cannot be run."""
        self._end(error.errno or ENOENT, f"module {self.name!r}: {error.strerror or error}")

    def hung_up(self) -> None:
        """It closed its end of the wire: it is about to go, or has to."""
        if not self._is_over:
            self._hurry(KILL_GRACE, "has closed its connection")

    def misbehaved(self, text: str) -> None:
        """It broke the protocol, or does not read: it is ended, and nobody else is harmed."""
        self._end_by_force(EPROTO, f"process {self.pid} is ended: {text}")

    def crashed(self, error: BaseException, message: Message | None) -> None:
        """Its endpoint here raised (a livelock, a bug of ours)."""
        self._end_by_force(ECONNRESET, f"process {self.pid} is ended by {describe(error)}")

    def _end_by_force(self, errnum: int, text: str) -> None:
        if not self._is_over:
            self._log(text)
            self.wire.kill()
            self._end(errnum, text)

    def exited(self, returncode: int) -> None:
        """The process is gone, and all it had sent has been taken."""
        if self._is_over:
            return
        is_told = self.loader == OURS and self._left_with is not None  # ours logs by itself why it leaves
        text = _last_line(self.pid, returncode, 0 if is_told else self._left_with)
        if text and not self._is_asked:
            self.has_failed = not self.life.is_awaited
            self._log(f"module runtime failure: {text}" if self.has_failed else text)
        elif self._left_with == 0 and not (self._is_asked or returncode):
            self.life.ran()  # it did at its start all it was for
        if self.life.is_awaited and self.last_words:
            text = self.last_words  # whoever loads it wants to know why it did not
        self._end(ECONNRESET if self._left_with is None else self._left_with, text)

    @property
    def _is_over(self) -> bool:
        return self.life.status > FINALIZING

    def _end(self, errnum: int, text: str) -> None:
        self._watch.stop()
        if self.life.exit(errnum):
            self._forget(self)
            self.handle.close()
            self.life.tell(self.name, errnum, text)

    def _log(self, text: str) -> None:
        self.broker.write_log(logring.ERR, self.name, text)


def _last_line(pid: int, returncode: int, left_with: int | None) -> str:
    """Why a process ended that said it would, with that errnum, or did not (None); "" if that was in good order."""
    if returncode < 0:
        return f"process {pid} was killed by {_signal_name(-returncode)}"
    if left_with is None:
        return f"process {pid} exited with code {returncode} without a word"
    if left_with:
        return f"process {pid} ended: {strerror(left_with)} ({errname(left_with)})"
    return f"exited with code {returncode}" if returncode else ""


def _signal_name(number: int) -> str:
    try:
        return f"{signal.strsignal(number)} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def loader_name(wanted: str | None) -> str:
    """Whose loader is wanted: a name that Flux's own command sends for Python files means ours, too."""
    if not wanted or wanted == OURS or "python" in wanted:
        return OURS
    if wanted == FLUX:
        return wanted
    raise RequestError(EINVAL, f"no loader {wanted!r}; give {OURS} or {FLUX}")
