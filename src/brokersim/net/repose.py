"""Knows whether the processes at the other end of Unix sockets have come to rest; not what they said.

Under the virtual clock a client's next request must not depend on how fast the machine was: time may move only
when every client has read its answers and sleeps. Linux only (/proc, SIOCOUTQ); elsewhere all are at rest. Why
patience is counted in the client's own processor time: docs/decisions/0045-patience-with-clients.md.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

_SIOCOUTQ = 0x5411
_INT = struct.Struct("i")
#: Seconds of processor time a client may burn before it is taken to be waiting all the same: it may poll in a loop.
#: Of its own time and not of the wall clock's: on a busy machine a client can be runnable for long and not run.
PATIENCE = 1.0
#: Wall-clock seconds after which it is given up waiting for a client that leaves unread what it was sent, and for
#: one that neither sleeps nor runs (a disk that does not answer).
UNREAD_PATIENCE, LONGEST = 1.0, 60.0
#: States of a thread that will do something by itself: running, waiting for the disk.
_BUSY = (b"R", b"D")
_TICK = 1 / os.sysconf("SC_CLK_TCK")
#: Fields of /proc/PID/stat behind the name: user and system time of all threads.
_TIMES = slice(11, 13)


class Repose:
    """The clients of a connector. After something went to or came from one, all must settle anew."""

    def __init__(self) -> None:
        self._clients: dict[socket.socket, int] = {}
        self._poll = select.poll()
        self._is_stirred = False
        #: When it was first seen after a stir that somebody is not at rest, and the processor time of all then.
        self._since: float | None = None
        self._spent: dict[int, float] = {}
        #: Since when somebody has unread input and nobody is busy.
        self._unread_since: float | None = None

    def add(self, client: socket.socket, pid: int) -> None:
        """A client is there, of that process (0: unknown)."""
        self._clients[client] = pid
        self._poll.register(client, select.POLLIN | select.POLLHUP)
        self.stirred()

    def drop(self, client: socket.socket) -> None:
        """A client goes; call it before the socket is closed."""
        if self._clients.pop(client, None) is not None:
            self._poll.unregister(client)

    def stirred(self, _bytes: int = 0) -> None:
        """A client was sent something, or said something: it may have more to say."""
        self._is_stirred = True
        self._since = self._unread_since = None

    def is_settled(self) -> bool:
        """Nobody has unread input or is about to send, or whoever seems to has had time enough."""
        if not self._is_stirred:
            return True
        if self._are_at_rest() or self._is_patience_over():
            self._is_stirred = False
            return True
        return False

    def _are_at_rest(self) -> bool:
        # In this order: who sleeps after it has read everything, and then has sent nothing, waits for an answer.
        return not any(map(_unread, self._clients)) and not self._busy() and not self._poll.poll(0)

    def _busy(self) -> list[int]:
        return [pid for pid in dict.fromkeys(self._clients.values()) if _is_busy(pid)]

    def _is_patience_over(self) -> bool:
        now = time.monotonic()
        busy = self._busy()
        if self._since is None:
            self._since = now
            self._spent = {pid: _processor_time(pid) for pid in set(self._clients.values())}
        if not busy and self._poll.poll(0):
            return False  # it has said something: the connector is about to read it
        if not busy:
            self._unread_since = now if self._unread_since is None else self._unread_since
            return now - self._unread_since > UNREAD_PATIENCE
        self._unread_since = None
        return now - self._since > LONGEST or all(
            _processor_time(pid) - self._spent.get(pid, 0.0) > PATIENCE for pid in busy
        )


def _unread(client: socket.socket) -> bool:
    try:
        (left,) = _INT.unpack(fcntl.ioctl(client.fileno(), _SIOCOUTQ, _INT.pack(0)))
    except OSError:
        return False
    return bool(left)


def _is_busy(pid: int) -> bool:
    # Our own process: whoever asks is the loop, so the client in it waits.
    return pid not in (0, os.getpid()) and any(state in _BUSY for state in _thread_states(pid))


def _thread_states(pid: int) -> Iterator[bytes]:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                # The name before it is in parentheses and may hold anything.
                yield file.read(512).rpartition(b") ")[2][:1]
    except OSError:
        return  # it has ended


def _processor_time(pid: int) -> float:
    """Seconds all threads of a process have run; 0 of one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read(1024).rpartition(b") ")[2].split()[_TIMES])) * _TICK
    except (OSError, ValueError):
        return 0.0
