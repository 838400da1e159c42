"""Knows the terminals of a job's tasks (shell option ``pty``) and who looks at them; not how one is made.

Source: flux-core's shell plugin ``pty`` and its terminal sessions: requests ``SERVICE.terminus.TASK``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs
import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, process, ranks

#: What may be asked for: a look, typing, or both.
_MODES: Final = ("ro", "wo", "rw")
#: More tasks than a machine has for one job: what is named is counted before it is written out.
_TASKS_MAX: Final = 1 << 16
#: Bytes typed that a task has not read yet.
_TYPED_MAX: Final = 1 << 20


@attrs.frozen(kw_only=True)
class PtyPlan:
    """Which ``tasks`` have terminals. ``capture``: what they show is output, too; ``interactive``: task 0 waits for
    somebody to look.
    """

    tasks: frozenset[int] = frozenset()
    capture: bool = True
    interactive: bool = False

    @property
    def init_context(self) -> dict[str, Any]:
        """What the event ``shell.init`` says of them."""
        return {"pty": "terminus.0", **({"capture": 1} if self.capture else {})} if self.interactive else {}


NO_TERMINALS: Final = PtyPlan()


def to_pty(option: Any, ntasks: int) -> PtyPlan:
    """The plan of shell option ``pty``: 1, or an object of ranks, capture and interactive. Raises ValueError."""
    if not option:
        return PtyPlan()
    options = option if isinstance(option, Mapping) else {}
    if set(options) - {"ranks", "capture", "interactive"}:
        raise ValueError("invalid shell pty option: it has ranks, capture and interactive")
    interactive, capture = options.get("interactive", 0), options.get("capture", -1)
    if type(interactive) is not int or type(capture) is not int:
        raise ValueError("invalid shell pty option: capture and interactive are numbers")
    wanted = options.get("ranks", 0 if interactive else "all")
    try:
        everyone = frozenset(range(ntasks))
        tasks = (
            everyone if wanted == "all" else everyone.intersection(ranks.parse_ranks(str(wanted), _TASKS_MAX))
        )
    except ValueError as error:
        raise ValueError(f"invalid shell pty option: ranks: {error}") from None
    return PtyPlan(
        tasks=tasks | {0} if interactive else tasks,
        capture=bool(capture) if capture >= 0 else not interactive,
        interactive=bool(interactive),
    )


class Size(msgspec.Struct):
    """Of a terminal."""

    rows: int
    cols: int


class Wish(msgspec.Struct):
    """Payload of a request to a terminal."""

    type: str
    mode: str = ""
    winsize: Size | None = None
    data: str = ""
    encoding: str = ""


class Session:
    """The terminal of one task, and who looks at it."""

    __slots__ = ("_clients", "_handle", "_is_captured", "_is_over", "_is_up", "_on_output", "terminal")

    def __init__(self, on_output: Callable[[bytes], object], *, is_captured: bool, is_awaited: bool) -> None:
        #: Requests of those that look, by sender, and whether they are shown what there is.
        self._clients: dict[str, tuple[Message, bool]] = {}
        self._handle: Handle | None = None
        self._is_up = False
        self._is_over = False
        self._on_output = on_output
        self._is_captured = is_captured
        self.terminal = process.Terminal(self._shown, is_read=not is_awaited)

    def started(self) -> None:
        """The task runs. Before that nobody is let in, so that one who would look at a command that cannot be started
        is refused, and looks for the reason in the job's output and status (flux-core's `job attach` does).
        """
        if not self._is_up:
            self._is_up = True
            for request, _ in self._clients.values():
                self._welcome(request)

    def _welcome(self, request: Message) -> None:
        if self._handle is not None:
            self._handle.respond(request, {"type": "attach"})

    def _shown(self, data: bytes) -> None:
        self.started()
        if self._is_captured:
            self._on_output(data)
        for request, reads in self._clients.values():
            if reads and self._handle is not None:
                self._handle.respond(request, _data(data))

    def ask(self, handle: Handle, msg: Message, wish: Wish) -> None:
        """What somebody who looks wants. Raises RequestError."""
        self._handle = handle
        if wish.type == "attach":
            self._attach(handle, msg, wish)
            return
        if wish.type == "resize":
            self._resize(wish)
        elif wish.type == "data":
            self._type(_bytes(wish))
        elif wish.type == "detach":
            self._leave(handle, msg.sender)
        else:
            raise RequestError(errnums.EPROTO, f"a terminal knows no request of type {wish.type!r:.40}")
        if not msg.is_noresponse:
            handle.respond(msg)

    def _type(self, data: bytes) -> None:
        if self.terminal.pending + len(data) > _TYPED_MAX:
            raise RequestError(errnums.ENOSPC, "the task has not read what was typed before")
        self.terminal.send(data)

    def _attach(self, handle: Handle, msg: Message, wish: Wish) -> None:
        if msg.sender in self._clients:
            raise RequestError(errnums.EEXIST, "you look at this terminal already")
        if wish.mode not in _MODES or not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "attach is a stream, in mode ro, wo or rw")
        if self._is_over:
            raise RequestError(errnums.ENOENT, "the task of this terminal has ended")
        if wish.mode == "rw":
            self._resize(wish)
        self._clients[msg.sender] = msg, "r" in wish.mode
        if self._is_up:
            self._welcome(msg)
        if "r" in wish.mode:
            self.terminal.let_go()

    def _resize(self, wish: Wish) -> None:
        size = wish.winsize
        try:
            self.terminal.resize(*((size.rows, size.cols) if size is not None else (0, 0)))
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    def _leave(self, handle: Handle, sender: str) -> None:
        request, _ = self._clients.pop(sender, (None, False))
        if request is not None:
            _end(handle, request, "Client requested detach", 0)

    def to_dict(self, task: int, pid: int, begun: float) -> dict[str, Any]:
        """As a list of sessions has it."""
        return {
            "id": task, "name": f"task{task}", "clients": len(self._clients), "pid": pid,
            "exited": int(self._is_over), "ctime": begun,
        }  # fmt: skip

    def end(self, status: int) -> None:
        """The task has ended with this wait status."""
        self._is_over = True
        clients, self._clients = self._clients, {}
        for request, _ in clients.values():
            if self._handle is not None:
                _end(self._handle, request, "session exiting", status)


class Terminals:
    """The terminals of one job; requests come from its user only."""

    __slots__ = ("_begun", "_sessions", "on_output")

    def __init__(self, plan: PtyPlan, begun: float) -> None:
        self._begun = begun
        #: Given what a task shows, where that is output, too.
        self.on_output: Callable[[int, bytes], object] = _ignore
        self._sessions = {
            task: Session(
                partial(self._output, task),
                is_captured=plan.capture or task != 0,
                is_awaited=plan.interactive and task == 0,
            )
            for task in plan.tasks
        }

    def _output(self, task: int, data: bytes) -> None:
        self.on_output(task, data)

    def of(self, task: int) -> process.Terminal | None:
        """The terminal of a task, None if it has none."""
        session = self._sessions.get(task)
        return session.terminal if session is not None else None

    def ask(self, handle: Handle, msg: Message, userid: int, pids: list[int]) -> None:
        """A request to ``SERVICE.terminus.TASK`` of a job of this user, or for the ``list``; ``pids`` of all tasks.

        Raises RequestError: ENOSYS, EPERM, EPROTO.
        """
        if msg.userid != userid:
            raise RequestError(errnums.EPERM, "a terminal is its job's user's only")
        service, _, name = msg.topic.rpartition(".")
        if name == "list":
            sessions = [
                session.to_dict(task, pids[task] if task < len(pids) else 0, self._begun)
                for task, session in sorted(self._sessions.items())
            ]
            server = {"service": service, "rank": handle.rank, "ctime": self._begun}
            handle.respond(msg, {"sessions": sessions, "server": server})
            return
        session = self._sessions.get(int(name)) if name.isdecimal() and len(name) < 10 else None
        if session is None:
            raise RequestError(errnums.ENOSYS, "No such session")
        session.ask(handle, msg, msg.unpack(Wish))

    def started(self, task: int) -> None:
        """A task runs."""
        session = self._sessions.get(task)
        if session is not None:
            session.started()

    def ended(self, task: int, status: int) -> None:
        """A task has ended with this wait status."""
        session = self._sessions.get(task)
        if session is not None:
            session.end(status)


def _ignore(_task: int, _data: bytes) -> None:
    """The tasks do not run yet."""


def _end(handle: Handle, request: Message, text: str, status: int) -> None:
    handle.respond(request, {"type": "exit", "message": text, "status": status})
    handle.respond_error(request, errnums.ENODATA)


def _data(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    if text and "\0" not in text:
        return {"type": "data", "data": text}
    return {"type": "data", "encoding": "base64", "data": base64.b64encode(data).decode()}


def _bytes(wish: Wish) -> bytes:
    if wish.encoding not in ("", "base64"):
        raise RequestError(errnums.EPROTO, f"invalid pty data encoding: {wish.encoding:.40}")
    if not wish.encoding:
        return wish.data.encode()
    try:
        return base64.b64decode(wish.data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(errnums.EPROTO, "pty data is not base64") from None
