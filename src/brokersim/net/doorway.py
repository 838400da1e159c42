"""Knows how newcomers at a listening socket are taken in, so that none can end more than itself; not what they say."""

from __future__ import annotations

import errno
import os
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import trio

from brokersim.net.readers import Readers

#: What there may be no more of: descriptors of this process, of the machine, memory of the kernel.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
#: Seconds between two attempts to take in a newcomer where none can even be refused.
_PAUSE = 0.1
#: Seconds without a refusal after which the next one is news again.
_FORGET = 60.0


class Doorway:
    """Takes in who comes to listening sockets. ``what`` names the port in lines to ``say``.

    When the process is out of file descriptors, a newcomer is refused with the bytes ``refusal``, not left to wait:
    one descriptor is kept back for that. It is said once with the limit, then at 10, 100, 1,000 ... refused.
    """

    def __init__(self, what: str, say: Callable[[str], object], refusal: bytes = b"") -> None:
        self._what = what
        self._say = say
        self._refusal = refusal
        self._reserve: int | None = None
        self._refused = 0
        self._refused_at = -_FORGET

    async def serve(
        self, listener: socket.socket, client: Callable[[trio.SocketStream], Awaitable[None]]
    ) -> None:
        """A task for each newcomer, until cancelled. What goes wrong in one is said and ends that one only."""
        async with trio.open_nursery() as nursery:
            while True:
                sock = await self._accept(listener)
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
                nursery.start_soon(self._guarded, client, stream)

    async def _guarded(
        self, client: Callable[[trio.SocketStream], Awaitable[None]], stream: trio.SocketStream
    ) -> None:
        try:
            async with stream:
                await client(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left: nobody is left to tell
        except Exception as error:
            self._say(f"{self._what}: a client is disconnected by a fault of ours: {error!r}")

    def open(
        self,
        nursery: trio.Nursery,
        readers: Readers,
        listener: socket.socket,
        admit: Callable[[socket.socket], object],
    ) -> None:
        """Have ``admit`` called with each newcomer, which does not block; who cannot be taken in is refused."""
        self._keep_reserve()

        def knock() -> None:
            client = self._take(listener)
            if isinstance(client, socket.socket):
                admit(client)
            elif client is not None:
                readers.drop(listener.fileno())
                nursery.start_soon(refuse, client)

        async def refuse(error: OSError) -> None:
            await self._refuse(listener, error)
            readers.add(listener.fileno(), knock)

        readers.add(listener.fileno(), knock)

    async def _accept(self, listener: socket.socket) -> socket.socket:
        """The next newcomer, not blocking; who cannot be taken in is refused."""
        self._keep_reserve()
        while True:
            # Asked first: newcomers are rare, and an accept that finds nobody costs as much as one that does.
            await trio.lowlevel.wait_readable(listener)
            client = self._take(listener)
            if isinstance(client, socket.socket):
                return client
            if client is not None:
                await self._refuse(listener, client)

    @staticmethod
    def _take(listener: socket.socket) -> socket.socket | OSError | None:
        """The newcomer who knocks; why there is no room for it; or None if it left before it was taken in."""
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            return error if error.errno in _EXHAUSTED else None
        client.setblocking(False)
        return client

    def close(self) -> None:
        """Gives the reserve back."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _keep_reserve(self) -> None:
        if self._reserve is None:
            with suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    async def _refuse(self, listener: socket.socket, error: OSError) -> None:
        self.close()
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            # Nobody is there: the kernel looks for a descriptor first.
            self._keep_reserve()
            await trio.lowlevel.wait_readable(listener)
            return
        except OSError:
            # Somebody else took the descriptor. In real time: a virtual clock may stand still.
            await trio.to_thread.run_sync(time.sleep, _PAUSE, abandon_on_cancel=True)
            return
        finally:
            self._keep_reserve()
        self._count(error)
        with client, suppress(OSError):
            client.setblocking(False)
            client.send(self._refusal)
            client.shutdown(socket.SHUT_WR)
            client.recv(1 << 16)  # unread bytes would make the end a reset, which takes the refusal along
        self._keep_reserve()
        await trio.lowlevel.checkpoint()

    def _count(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._refused_at > _FORGET:
            self._refused = 0
        self._refused_at = now
        self._refused += 1
        if self._refused == 1:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            self._say(
                f"{self._what}: newcomers are refused: {error.strerror} (this process may have {limit});"
                f" raise the limit before the start: ulimit -n {max(4096, 4 * limit)}"
            )
        elif str(self._refused).strip("0") == "1":
            self._say(f"{self._what}: {self._refused} newcomers refused so far: {error.strerror}")


class Seats:
    """``limit`` clients at once; one more takes the seat of whoever has been idle longest, if anybody is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._idle: dict[trio.CancelScope, None] = {}

    @contextmanager
    def seat(self) -> Iterator[Seat | None]:
        """A seat for the time inside, None if all are taken by busy clients. Who loses it is cancelled there."""
        if self._taken >= self._limit:
            longest = next(iter(self._idle), None)
            if longest is None:
                yield None
                return
            del self._idle[longest]
            longest.cancel()
        self._taken += 1
        try:
            with trio.CancelScope() as scope:
                yield Seat(self._idle, scope)
        finally:
            self._idle.pop(scope, None)
            self._taken -= 1


class Seat:
    """One client's; inside ``idle()`` others may take it."""

    def __init__(self, idle: dict[trio.CancelScope, None], scope: trio.CancelScope) -> None:
        self._idle = idle
        self._scope = scope

    @contextmanager
    def idle(self) -> Iterator[None]:
        """It waits for the client to say something."""
        self._idle[self._scope] = None
        try:
            yield
        finally:
            self._idle.pop(self._scope, None)
