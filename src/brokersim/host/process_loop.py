"""Knows the loop of a module that runs as a process of its own: one wire, timers, descriptors, signals. No trio.

A turn is libev's, as flux-core 0.88 has it: prepare, poll, check, at most one message, idle, timers, descriptors. It
doesn't know what the messages mean, nor which file the module came from.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from brokersim.host.blocking import BlockedLoop
from brokersim.host.far import Far, FarBroker
from brokersim.host.handle import Handle
from brokersim.protocol.errnums import (
    EBADF,
    ECONNRESET,
    EPROTO,
    ETIMEDOUT,
    ProtocolError,
    RequestError,
    strerror,
)
from brokersim.protocol.message import FLAG_ROUTE, NODEID_ANY, RESPONSE, Message
from brokersim.protocol.wire import FrameDecoder, encode
from brokersim.reactor.actor import AT_ONCE, FAILURES, Timer
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.turn import run_timers, take
from brokersim.routing.endpoint import unheard

#: Bytes of output at which a turn waits until the broker has read some, as a blocking send does.
_OUT_MAX = 1 << 20
_READ = 1 << 16
_GONE = "the broker has closed the connection"

FdCall = Callable[[], object]


class ModuleWire(Far):
    """The module's end of the wire and the loop around it. Raises ConnectionError where the broker is gone."""

    def __init__(self, connection: socket.socket, speed: float = 1.0) -> None:
        self.reactor = Reactor()  # everything here is inside the loop
        self._socket = connection
        self._speed = speed
        self._start = time.monotonic_ns()
        self._decoder = FrameDecoder()
        self._out: list[bytes] = []
        self._out_size = 0
        self._is_over = False
        self._handle: Handle | None = None
        self._asked: dict[int, list[Message]] = {}
        self._fds: dict[int, list[tuple[int, Callable[[int], object]]]] = {}
        self._signals: dict[int, list[Callable[[], object]]] = {}
        self._raised: list[int] = []
        self._wake: tuple[int, int] | None = None
        self._take: Callable[[Message], object] = self._early_append
        self._early: list[Message] = []

    # -- the beginning

    def welcome(self) -> Message:
        """Wait for the handshake and the broker's first request. Raises ConnectionError."""
        self._socket.setblocking(True)
        answer = self._socket.recv(1)
        if answer != b"\0":
            raise ConnectionError(strerror(answer[0]) if answer else _GONE)
        while not self._early:
            self._read()
        self.reactor.now = self._now()
        return self._early.pop(0)

    def attach(self, broker: FarBroker) -> None:
        """What comes is this one's to receive, what has come already too."""
        self._handle = broker.handle
        self._take = broker.receive
        for message in self._early:
            self._take(message)

    def _early_append(self, message: Message) -> None:
        self._early.append(message)

    # -- messages

    def send(self, message: Message) -> None:
        """Queue a message for the broker; it is written at the end of the turn. Raises RequestError if it cannot be."""
        try:
            frame = encode(message)
        except ProtocolError as error:
            raise RequestError(EPROTO, str(error)) from None
        self._out.append(frame)
        self._out_size += len(frame)
        if self._out_size > _OUT_MAX:
            self._flush_all()

    def ask(
        self,
        handle: Handle,
        topic: str,
        payload: object,
        timeout: float | None = None,
        nodeid: int = NODEID_ANY,
    ) -> Message:
        """Send a request and wait for its answer; what else comes is queued, in order.

        Raises RequestError: ETIMEDOUT, ECONNRESET.
        """
        answers: list[Message] = []
        request = handle.request(topic, payload, unheard, AT_ONCE, nodeid)
        handle.pending.pop(request.matchtag, None)
        self._asked[request.matchtag] = answers
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while not answers:
                self._flush_all()
                if until is not None and not self._is_readable(max(0.0, until - time.monotonic())):
                    raise RequestError(ETIMEDOUT, f"{topic}: no answer within {timeout:g} s")
                self._read()
        except ConnectionError:
            raise RequestError(ECONNRESET, _GONE) from None
        finally:
            self._asked.pop(request.matchtag, None)
        handle.handed(answers[0])
        handle.wakeups -= 1  # it was waited for: no continuation has a turn
        return answers[0]

    def leave(self) -> None:
        """End the loop when the turn that runs now has ended."""
        self._is_over = True

    def _read(self) -> None:
        """Queue the messages of one read, which may wait. Raises ConnectionError at the end."""
        data = self._socket.recv(_READ)
        if not data:
            raise ConnectionError(_GONE)
        try:
            self._take_all(data)
        except ProtocolError as error:
            raise ConnectionError(f"the broker sent what is no message: {error}") from None

    def _take_all(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            if self._asked and message.type == RESPONSE and message.matchtag in self._asked:
                self._asked[message.matchtag].append(message)
            else:
                self._take(message)

    def _is_readable(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _flush(self) -> None:
        """Write what the socket takes now."""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        self._out_size = len(data) - sent
        self._out = [data[sent:]] if self._out_size else []

    def _flush_all(self) -> None:
        """Write everything; what comes meanwhile is taken in, so that the two ends cannot block each other."""
        while self._out:
            self._flush()
            if self._out:
                poll = select.poll()
                poll.register(self._socket, select.POLLIN | select.POLLOUT)
                if any(found & select.POLLIN for _, found in poll.poll()):
                    self._read()

    # -- descriptors and signals

    def watch_fd(self, fd: int, events: int, call: Callable[[int], object]) -> Callable[[], object]:
        """Call ``call(revents)`` while ``fd`` is ready (masks of `select.poll`); returns what stops that."""
        watch = (events, call)
        self._fds.setdefault(fd, []).append(watch)
        return partial(_drop, self._fds, fd, watch)

    def watch_signal(self, number: int, call: Callable[[], object]) -> Callable[[], object]:
        """Call back when the process gets a signal; returns what stops that."""
        if self._wake is None:
            self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        if number not in self._signals:
            signal.signal(number, lambda number, _: self._raised.append(number))
        self._signals.setdefault(number, []).append(call)
        return partial(self._ignore_signal, number, call)

    def _ignore_signal(self, number: int, call: Callable[[], object]) -> None:
        _drop(self._signals, number, call)
        if number not in self._signals:
            signal.signal(number, signal.SIG_DFL)

    # -- the loop

    def run(self) -> None:
        """Turn until ``leave``; then everything has been written. Raises ConnectionError if the broker goes first."""
        while not self._is_over:
            self.turn()
        self._flush_all()

    def turn(self) -> None:
        """One iteration: what the previous one sent goes out, poll, and what poll found is called."""
        if self._out:
            self._flush()
        reactor = self.reactor
        reactor.now = self._now()
        fds = self._poll()
        reactor.now = self._now()
        due = reactor.take_due() if reactor.next_due() is not None else []
        handle = self._handle
        assert handle is not None
        # Timers of the host, such as the module's end, are no turn of its loop; behind the end nothing is.
        run_timers([timer for timer in due if timer.actor is not handle])
        if not self._is_over:
            mine = [timer for timer in due if timer.actor is handle]
            self._iterate(handle, reactor.fifo.popleft() if reactor.fifo else None, mine, fds)

    def _now(self) -> int:
        elapsed = time.monotonic_ns() - self._start
        return elapsed if self._speed == 1 else round(elapsed * self._speed)

    def _poll(self) -> Sequence[FdCall]:
        """Wait for the wire, a descriptor, a signal or the next timer; not at all if messages wait."""
        fifo = self.reactor.fifo
        # Descriptors of a module that waits for an answer are left alone: its loop does not turn.
        watches = bool(self._fds or self._signals) and not isinstance(
            self._handle and self._handle.loop, BlockedLoop
        )
        if fifo and fifo[0].type and not watches:
            return ()
        seconds = 0.0 if fifo else self._until_due()
        if seconds is None and not watches and not self._out:
            self._read()
            return ()
        return self._poll_all(seconds, watches)

    def _until_due(self) -> float | None:
        due = self.reactor.next_due()
        return None if due is None else max(0.0, (due - self.reactor.now) / NS / self._speed)

    def _poll_all(self, seconds: float | None, watches: bool) -> Sequence[FdCall]:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        if watches:
            for fd, each in self._fds.items():
                poll.register(fd, sum({bit for events, _ in each for bit in _bits(events)}))
            if self._wake is not None:
                poll.register(self._wake[0], select.POLLIN)
        wire = self._socket.fileno()
        calls: list[FdCall] = []
        # Rounded up: a timer is not waited for in many polls of no time at all.
        for fd, found in poll.poll(None if seconds is None else -(-seconds * 1000 // 1)):
            if fd == wire:
                if found & ~select.POLLOUT:
                    self._read()
            elif self._wake is not None and fd == self._wake[0]:
                os.read(fd, 4096)
            else:
                calls += _calls(fd, found, self._fds[fd])
        raised, self._raised = self._raised, []
        calls += [call for number in raised for call in self._signals.get(number, ())]
        return calls

    def _iterate(
        self, handle: Handle, message: Message | None, due: list[Timer], fds: Sequence[FdCall]
    ) -> None:
        if message is not None and message.dst is not handle:
            message.flags |= FLAG_ROUTE
            self.send(message)  # an answer that waited for those before it
            message = None
        if message is None and not due and not fds:
            return
        loop = handle.loop
        self.reactor.current = handle
        try:
            if loop is None:
                self._plain_turn(handle, message, due, fds)
            elif message is not None and not message.type and getattr(loop, "is_fresh", False):
                loop.iterate(message)
                if due or fds:
                    loop.iterate(None, due, fds)
            else:
                loop.iterate(message, due, fds)
            if handle.loop is None and handle.is_open:
                run_timers(due)  # left over, if a handler stopped the last watcher and with it the turn
        except FAILURES as error:
            handle.failed(error, message if message is not None and message.type else None)
        self.reactor.current = None

    def _plain_turn(
        self, handle: Handle, message: Message | None, due: list[Timer], fds: Sequence[FdCall]
    ) -> None:
        """A turn of a module without watchers."""
        if message is None:
            handle.wakeups += 1
        else:
            take(message)
        if isinstance(handle.loop, BlockedLoop):
            handle.loop.iterate(
                None, due
            )  # its handler waits for an answer, and the rest of the turn with it
            return
        run_timers(due)
        for call in reversed(fds):
            if not isinstance(handle.loop, BlockedLoop):
                call()


_ERRORS = select.POLLERR | select.POLLHUP


def _calls(fd: int, found: int, watches: Sequence[tuple[int, Callable[[int], object]]]) -> list[FdCall]:
    if found & select.POLLNVAL:
        return [partial(_raise_closed, fd)]
    return [partial(call, ready) for events, call in watches if (ready := found & (events | _ERRORS))]


def _raise_closed(fd: int) -> None:
    raise OSError(EBADF, f"descriptor {fd} is watched but has been closed; stop the watcher first")


def _bits(events: int) -> list[int]:
    return [bit for bit in (select.POLLIN, select.POLLPRI, select.POLLOUT) if events & bit]


def _drop(table: dict[int, list[Any]], key: int, value: object) -> None:
    kept = [one for one in table.get(key, ()) if one is not value]
    if kept:
        table[key] = kept
    else:
        table.pop(key, None)


def _ignore(*_: object) -> None:
    """The answer is taken where it is waited for."""
