"""Knows whether the processes at the other end of Unix sockets have come to rest; not what they said.

Under the virtual clock a client's next request must not depend on how fast the machine was: time may move only
when every client has read its answers and sleeps. Linux only (/proc, SIOCOUTQ); elsewhere all are at rest.
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
#: Seconds after which a client that does not sleep is taken to be waiting all the same: it may poll in a loop.
PATIENCE = 1.0
#: States of a thread that will do something by itself: running, waiting for the disk.
_BUSY = (b"R", b"D")


class Repose:
    """The clients of a connector. After something went to or came from one, all must settle anew."""

    def __init__(self) -> None:
        self._clients: dict[socket.socket, int] = {}
        self._poll = select.poll()
        self._since: float | None = None

    def add(self, client: socket.socket, pid: int) -> None:
        """A client is there, of that process (0: unknown)."""
        self._clients[client] = pid
        self._poll.register(client, select.POLLIN | select.POLLHUP)
        self.stirred()

    def drop(self, client: socket.socket) -> None:
        """A client goes; call it before the socket is closed."""
        if self._clients.pop(client, None) is not None:
            self._poll.unregister(client)

    def stirred(self) -> None:
        """A client was sent something, or said something: it may have more to say."""
        self._since = time.monotonic()

    def is_settled(self) -> bool:
        """Nobody has unread input or is about to send; True after a second of waiting for that."""
        if self._since is None:
            return True
        if self._are_at_rest() or time.monotonic() - self._since > PATIENCE:
            self._since = None
            return True
        return False

    def _are_at_rest(self) -> bool:
        # In this order: who sleeps after it has read everything, and then has sent nothing, waits for an answer.
        return (
            not any(map(_unread, self._clients))
            and not any(map(_is_busy, dict.fromkeys(self._clients.values())))
            and not self._poll.poll(0)
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
