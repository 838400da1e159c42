"""Knows a module that runs as a process of its own: its endpoint here, its life I R F X. Not processes, not bytes.

What is counted here is the broker's view: tx when a message of the module arrives, rx when one is handed to its wire.
Source: flux-core 0.88's module subprocess protocol as observed (docs/modules.md, "Modules as processes").
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from brokersim.broker.endpoint import Handler, Method
from brokersim.broker.handle import Handle
from brokersim.broker.host import FINALIZING, LOAD_TIMEOUT, RUNNING, STOP_TIMEOUT, Done, Module
from brokersim.broker.loader import ModuleCode, describe
from brokersim.broker.table import EMPTY_TABLE
from brokersim.broker.watchdog import HANDLER_TIMEOUT
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
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    REQUEST,
    RESPONSE,
    ROLE_LOCAL,
    ROLE_OWNER,
    USERID_UNKNOWN,
    Message,
    decode_json,
)

if TYPE_CHECKING:
    from brokersim.broker.broker import Broker
    from brokersim.reactor.loop import Timer

#: The loader that comes with brokersim.
OURS = "brokersim"
#: Seconds from SIGTERM to SIGKILL, and for leaving after the module said it has ended.
KILL_GRACE = 2.0
#: Seconds a module that is cancelled still has to end in good order.
CANCEL_GRACE = 0.25


class Wire(Protocol):
    """The way to a module's process."""

    @property
    def pid(self) -> int:
        """0 until it is started."""

    @property
    def queued(self) -> int:
        """Messages not yet given to its socket."""

    def send(self, message: Message) -> None:
        """Queue a message; what cannot be sent is logged and dropped."""

    def unread(self) -> int:
        """Bytes that lie before it and that it has not read."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it, and what it started (SIGKILL)."""


class Launcher(Protocol):
    """Starts processes for modules."""

    def command(self, loader: str, path: Path) -> tuple[str, ...]:
        """What runs a module file; ``loader`` is ours or ``flux``. Raises RequestError if it cannot."""

    def start(self, broker: Broker, module: RemoteModule, command: Sequence[str]) -> Wire:
        """Start it, and tell the module what it says and what becomes of it."""


class RemoteHandle(Handle):
    """A process module's place among the endpoints: what is sent to it goes to its wire."""

    __slots__ = ("_served", "is_quiet", "wire")

    wire: Wire

    def __init__(self, broker: Broker, name: str, uuid: str, module: Module | None = None) -> None:
        super().__init__(broker, name, uuid, module)
        #: Requests it has in hand: (route stack, matchtag) to the request.
        self._served: dict[tuple[tuple[str, ...], int], Message] = {}
        #: It has said that it finalizes: nothing reaches it but the answer to that.
        self.is_quiet = False

    # -- to the process

    def method(self, topic: str) -> Method | None:
        """Every request is the process's to answer, roles included."""
        return self.take_request, True

    def event_handler(self, topic: str) -> Handler:
        return self._clear_and_take if topic == f"{self.name}.stats-clear" else self._take_event

    def take_request(self, request: Message) -> None:
        stack = self.broker.path(request)
        if not request.is_noresponse:
            self._served[stack, request.matchtag] = request
        self.wire.send(
            Message(
                REQUEST, request.topic, request.data, request.flags | FLAG_ROUTE, request.matchtag, 0, request.nodeid,
                request.userid, request.rolemask, routes=stack,
            )
        )  # fmt: skip

    def _take_event(self, event: Message) -> None:
        if not self.is_quiet:
            event.flags |= FLAG_ROUTE
            self.wire.send(event)

    def _clear_and_take(self, event: Message) -> None:
        self.clear_counts()
        self._take_event(event)

    def _take_response(self, response: Message, _: object) -> None:
        if self.is_quiet and response.topic != "module.status":
            return
        response.routes = ()  # its own entry was the last on the stack
        response.flags |= FLAG_ROUTE
        self.wire.send(response)

    def stray_response(self, response: Message) -> None:
        """To a request of it that has been answered already."""
        self.stray += 1

    # -- from the process

    def receive(self, message: Message) -> None:
        """Take one message of the process; it sends no credentials unless it speaks for somebody else."""
        if message.userid == USERID_UNKNOWN:
            message.userid = self.userid
        if message.rolemask == 0:
            message.rolemask = ROLE_OWNER | ROLE_LOCAL
        message.src = self
        take = _TAKES.get(message.type)
        if take is not None:
            take(self, message)

    def _receive_request(self, message: Message) -> None:
        self.counts[0] += 1
        message.routes = (self.uuid,)
        if self.tracer is not None:
            self.tracer("tx", self, message)
        if not message.flags & FLAG_NORESPONSE and message.matchtag:
            self.pending[message.matchtag] = self._take_response, None, message
        if message.topic == "log.append" and isinstance(self.module, RemoteModule):
            self.module.last_words = (message.payload_str or "").partition(" - - ")[2].removeprefix("- ")
        self.dispatch_request(message)

    def _receive_event(self, message: Message) -> None:
        self.counts[4] += 1
        message.routes = (self.uuid,)
        if self.tracer is not None:
            self.tracer("tx", self, message)
        if message.topic:
            self.broker.publish(message)

    def _receive_response(self, message: Message) -> None:
        request = self._served.get((message.routes, message.matchtag))
        if request is None:
            self.counts[2] += 1  # late, or made up: it was sent all the same
            return
        if not request.is_streaming or message.errnum:
            del self._served[message.routes, message.matchtag]
        if message.errnum:
            self.respond_error(request, message.errnum, message.payload_str or "")
            return
        own = _ON_ANSWER.get(message.topic.removeprefix(f"{self.name}."))
        if own is not None:
            own(self, message)
        self.respond(request, as_value(message) if isinstance(request.src, Handle) else message.data)

    def _learn_mask(self, message: Message) -> None:
        """The process keeps the debug mask; its answers tell it, and with it whether counters are emitted."""
        try:
            self.set_mask(int(message.payload["flags"]))
        except (RequestError, KeyError, TypeError, ValueError):
            return  # not Flux's answer, so no news of the mask

    def turned(self) -> None:
        """Something came from the process: a turn of its loop, as seen from here, for the hook of its counters."""
        if self.loop is None:
            self.wakeups += 1
        else:
            self.loop.iterate(None)


#: What the broker itself learns from answers to the methods every module has.
_ON_ANSWER: dict[str, Callable[[RemoteHandle, Message], None]] = {
    "debug": RemoteHandle._learn_mask,
    "stats-clear": lambda handle, _: handle.clear_counts(),
}
_TAKES: dict[int, Callable[[RemoteHandle, Message], None]] = {
    REQUEST: RemoteHandle._receive_request,
    RESPONSE: RemoteHandle._receive_response,
    EVENT: RemoteHandle._receive_event,
}


def as_value(message: Message) -> object:
    """A payload from a wire as modules of ours expect it: JSON as a value, anything else as bytes."""
    data = message.data
    if isinstance(data, bytes) and data.endswith(b"}\0"):
        try:
            return decode_json(message.topic, data)
        except RequestError:
            return data
    return data


class RemoteModule(Module):
    """A module whose file is run by a loader in a process of its own.

    It is INIT until the process says RUNNING; FINALIZING when the process says so; EXITED when the process is gone.
    """

    __slots__ = (
        "_has_left", "_is_asked", "_is_stuck", "_sent", "_unread", "_watch", "last_words", "loader", "wire",
    )  # fmt: skip

    handle: RemoteHandle

    def __init__(
        self,
        broker: Broker,
        name: str,
        path: Path,
        args: tuple[str, ...],
        loaded: Done,
        command: Sequence[str],
        *,
        launcher: Launcher,
        loader: str,
    ) -> None:
        #: The last line it logged or printed: why it did not load, most likely.
        self.last_words = ""
        self.loader = loader
        self._has_left = False  # it said EXITED
        self._is_asked = False  # to end, by us
        self._is_stuck = False
        self._unread = self._sent = 0
        self._watch: Timer | None = None
        self.wire = launcher.start(broker, self, command)
        code = ModuleCode(path=path, owner=RemoteModule, table=EMPTY_TABLE, program=_Far(self.wire))
        super().__init__(broker, name, code, args, loaded)
        self._timer = self._after("broker.module-load-timeout", LOAD_TIMEOUT, self._load_timed_out)
        self._look_again()

    @property
    def pid(self) -> int:
        """Its process, 0 before there is one."""
        return self.wire.pid

    @property
    def sendqueue(self) -> int:
        """Messages not yet given to its socket."""
        return self.wire.queued

    def _after(self, attribute: str, default: float, fn: Callable[[], None]) -> Timer:
        seconds = self.broker.instance.seconds(attribute, default)
        return self.broker.reactor.call_later(seconds, fn)

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
        self._request("welcome", payload)

    def _request(self, topic: str, payload: object = None) -> None:
        """A request of the broker itself to the process, which it does not answer."""
        sender = self.broker.endpoint
        sender.counts[0] += 1
        message = Message(
            REQUEST, topic, payload, FLAG_NORESPONSE, src=sender, dst=self.handle, userid=self.broker.owner,
            rolemask=ROLE_OWNER | ROLE_LOCAL, handler=self.handle.take_request,
        )  # fmt: skip
        if sender.tracer is not None:
            sender.tracer("tx", sender, message)
        self.broker.reactor.push(message)

    def set_running(self) -> None:
        """Only its process can say so."""

    def told(self, status: int, errnum: int) -> None:
        """The process says how far it is. Raises RequestError for what is no such step."""
        if status == RUNNING:
            self.became_running()
        elif status == FINALIZING:
            self.status = FINALIZING
            self.handle.is_quiet = True
            self.broker.stop_serving(self.handle)
            if not self._is_asked:
                self._hurry(self._stop_timeout())
        elif status == FINALIZING + 1:
            self._has_left, self.errnum = True, errnum
            self._hurry(KILL_GRACE, "has ended and does not exit")
        else:
            raise RequestError(
                EPROTO, f"module.status: {status} is none of 1 (running), 2 (finalizing), 3 (exited)"
            )

    def _load_timed_out(self) -> None:
        text = f"module {self.name!r} did not become ready in time; does its start wait for something?"
        self._end_by_force(ETIMEDOUT, text)

    # -- what the process shows

    def said(self, level: int, line: str) -> None:
        """It wrote a line to stdout or stderr."""
        if line.strip():
            self.last_words = line.strip()
            self.broker.write_log(level, self.name, line)

    def _look_again(self) -> None:
        self._watch = self._after("broker.handler-timeout", HANDLER_TIMEOUT, self._look)

    def _look(self) -> None:
        """A process that neither reads nor sends for a whole period hangs. It is told once: nobody else is harmed."""
        self._look_again()
        unread, sent = self.wire.unread(), sum(self.handle.counts[0::2])
        is_stuck = bool(self.status == RUNNING and unread and self._unread and sent == self._sent)
        if is_stuck and not self._is_stuck:
            self._log(f"process {self.pid} does not read its messages: does a handler hang?")
        self._is_stuck, self._unread, self._sent = is_stuck, unread, sent

    # -- end

    def stop(self, removed: Done | None = None, cancel: bool = False) -> None:
        """Ask the process to end; with ``cancel`` it gets a signal, too. ``removed`` is told when it is gone."""
        if removed is not None:
            self._removed.append(removed)
        if not self._is_asked:
            self._is_asked = True
            self._request(f"{self.name}.shutdown")
            self._hurry(self._stop_timeout())
        if cancel:
            self._hurry(CANCEL_GRACE)

    def _stop_timeout(self) -> float:
        return self.broker.instance.seconds("broker.module-stop-timeout", STOP_TIMEOUT)

    def _hurry(self, seconds: float, why: str = "refuses to stop") -> None:
        """If it is not gone in so many seconds it is made to go."""
        self._cancel_timer()
        self._timer = self.broker.reactor.call_later(seconds, self._terminate, why)

    def _terminate(self, why: str) -> None:
        self._is_asked = True
        self._log(f"{why}: SIGTERM to process {self.pid}")
        self.wire.terminate()
        self._timer = self.broker.reactor.call_later(KILL_GRACE, self._kill)

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
        text = self._last_line(returncode)
        if text and not self._is_asked:
            self._log(text)
        if self._loaded is not None and self.last_words:
            text = self.last_words  # whoever loads it wants to know why it did not
        self._end(self.errnum if self._has_left else ECONNRESET, text)

    def _last_line(self, returncode: int) -> str:
        """Why it ended, "" if that was in good order."""
        if returncode < 0:
            return f"process {self.pid} was killed by {_signal_name(-returncode)}"
        if not self._has_left:
            return f"process {self.pid} exited with code {returncode} without a word"
        if self.errnum and self.loader != OURS:  # ours logs why by itself
            return f"process {self.pid} ended: {strerror(self.errnum)} ({errname(self.errnum)})"
        return f"exited with code {returncode}" if returncode else ""

    @property
    def _is_over(self) -> bool:
        return self.status > FINALIZING

    def _end(self, errnum: int, text: str) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super()._end(errnum, text)


class _Far:
    """The program of a file that is run elsewhere: all there is of it here is the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def make_handle(self, broker: Broker, name: str, uuid: str, module: Module) -> Handle:
        handle = RemoteHandle(broker, name, uuid, module)
        handle.wire = self._wire
        return handle

    def start(self, handle: Handle, args: tuple[str, ...]) -> None:
        """Its loader starts it."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def loader_name(wanted: str | None) -> str:
    """Whose loader is wanted: a name that Flux's own command sends for Python files means ours, too."""
    if not wanted or wanted == OURS or "python" in wanted:
        return OURS
    if wanted == "flux":
        return wanted
    raise RequestError(EINVAL, f"no loader {wanted!r}; give {OURS} or flux")
