"""Knows the Linux errnums the protocol uses, and the exception that carries one; nothing of messages."""

from __future__ import annotations

import errno
import os

EPERM = 1
ENOENT = 2
EIO = 5
EBADF = 9
EEXIST = 17
ENOTDIR = 20
EISDIR = 21
EINVAL = 22
EFBIG = 27
ENOSPC = 28
EDEADLK = 35
ENOSYS = 38
ELOOP = 40
ENODATA = 61
EPROTO = 71
ENOTSUP = 95
ECONNRESET = 104
ETIMEDOUT = 110
EHOSTUNREACH = 113


class ProtocolError(Exception):
    """The one error that bytes from a peer may raise: the frame or message breaks RFC 3."""


#: The largest that a message can carry (RFC 3: 32 bits), and that the C library takes.
ERRNUM_MAX = (1 << 32) - 1
_INT_MAX = (1 << 31) - 1


class RequestError(OSError):
    """A request was answered, or is to be answered, with an errnum.

    Raised to a caller whose RPC failed; raised *by* a request handler it becomes the error response
    (any other exception ends the module, as in Flux). ``errno`` and ``strerror`` are OSError's own.
    """

    def __init__(self, errnum: int, text: str = "") -> None:
        if not 0 <= errnum <= ERRNUM_MAX:  # no message could carry it, and who asked is to be told
            errnum, text = EINVAL, f"{errnum} is no errnum{text and ': '}{text}"
        super().__init__(errnum, text or strerror(errnum))
        self.text = text

    def __str__(self) -> str:
        return str(self.strerror)


def strerror(errnum: int) -> str:
    """The C library's text of an errnum: ``Function not implemented`` for 38. Messages may carry more than it knows."""
    return os.strerror(errnum) if errnum <= _INT_MAX else f"Unknown error {errnum}"


def errname(errnum: int) -> str:
    """The symbolic name, ``ENOSYS`` for 38; ``E#999`` when the platform has none."""
    return errno.errorcode.get(errnum, f"E#{errnum}")
