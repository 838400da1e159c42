"""A stream socket on which every wait ends. Knows no messages."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Unreachable(ConnectionError):
    """No connection to the instance: not there, refused, or lost. ``errno`` may be None."""

    def __init__(self, text: str, errnum: int | None = None) -> None:
        super().__init__(text)
        self.errno = errnum


class Lost(Unreachable):
    """The instance closed the connection."""


class Limits:
    """How long to wait: ``timeout`` seconds each time, and no later than ``deadline`` (s of time.monotonic).

    Either is None for no limit. Both may be changed at any time.
    """

    def __init__(self, timeout: float | None = None, deadline: float | None = None) -> None:
        self.timeout = timeout
        self.deadline = deadline

    def left(self) -> float | None:
        """Seconds a wait that begins now may take; below 0 if the deadline is past."""
        if self.deadline is None:
            return self.timeout
        left = self.deadline - time.monotonic()
        return left if self.timeout is None else min(left, self.timeout)

    @contextmanager
    def until(self, moment: float) -> Iterator[None]:
        """Inside, waits end at this moment as well. What it breaks off is left without a word; the deadline raises."""
        limit = self.deadline
        self.deadline = moment if limit is None else min(moment, limit)
        try:
            yield
        except TimeoutError:
            if limit is not None and time.monotonic() >= limit:
                raise
        finally:
            self.deadline = limit


class BoundedSocket:
    """A connected socket; what is said of trouble with it begins with ``name``.

    Raises TimeoutError where a limit is reached, Lost where the other end is gone, which also closes it.
    """

    def __init__(self, connection: socket.socket, name: str, limits: Limits) -> None:
        self._socket = connection
        self._name = name
        self._limits = limits
        connection.setblocking(False)
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)

    @property
    def is_closed(self) -> bool:
        """Closed from here, or lost."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Closing twice is fine."""
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self, size: int) -> bytes:
        """What is there, waiting for the first byte; never empty."""
        # Poll first: an empty socket is the usual case, and asking is cheaper than a BlockingIOError.
        self._wait(self._readable)
        try:
            data = self._socket.recv(size)
        except OSError as error:
            raise self._lost(error) from None
        if not data:
            raise self._lost()
        return data

    def send(self, data: bytes, take_in: Callable[[], object]) -> None:
        """All of it. While the socket is full, ``take_in`` reads what came: two ends cannot block each other."""
        while data:
            try:
                data = data[self._socket.send(data, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                if self._wait(self._either()) & select.POLLIN:
                    take_in()
            except OSError as error:
                raise self._lost(error) from None

    def _lost(self, error: OSError | None = None) -> Lost:
        self._socket.close()
        # Whatever the system calls it (EPIPE, too): callers must not mistake it for their own broken pipe.
        why = "the instance closed the connection" if error is None else f"connection lost: {error.strerror}"
        return Lost(f"{self._name}: {why}", errno.ECONNRESET)

    def _either(self) -> select.poll:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        return poll

    def _wait(self, poll: select.poll) -> int:
        """What the socket is ready for."""
        if self.is_closed:
            raise Lost(f"{self._name}: the connection is closed", errno.ECONNRESET)
        seconds = self._limits.left()
        for _, ready in poll.poll(None if seconds is None else max(0.0, seconds) * 1000):
            return ready
        raise TimeoutError(errno.ETIMEDOUT, f"{self._name}: no answer in time")
