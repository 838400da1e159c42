"""Knows how to read many datagrams with one call of Linux' recvmmsg(2); not what is in them, nor when to read.

CPython has no such call, so it goes by compiled code, or by ctypes. Source of the structures: the manual page.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import sys
from collections.abc import Callable

from brokersim.native import look

try:
    look("_lines")
    from brokersim.native._lines import Datagrams
except ImportError:  # not compiled, or not on Linux
    Datagrams = None  # type: ignore[assignment,misc]

#: Datagrams a call may bring. Doubling it saves 3 % more, and lines then no longer stay in a processor's cache.
AT_ONCE = 64
# A datagram up to this size is read from memory that stays in the cache; what is longer goes on in a second piece.
_SLOT, _REST = 2048, 65_536
# sockaddr_in6, the longer of the two.
_NAME = 28
_MSG_DONTWAIT = 0x40


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class NoRecvmmsgError(Exception):
    """This system has no such call."""


class CompiledDatagrams:
    """What one UDP socket receives, many at a time, for compiled code: nothing becomes an object unasked.

    Raises NoRecvmmsgError.
    """

    def __init__(self, sock: socket.socket) -> None:
        if Datagrams is None:
            raise NoRecvmmsgError
        self._socket = sock
        self.datagrams = Datagrams(sock.fileno())

    def receive(self) -> int:
        """How many were received into ``datagrams``: what waits, at most ``AT_ONCE``. Raises NoRecvmmsgError."""
        try:
            return self.datagrams.receive()
        except OSError:
            raise NoRecvmmsgError from None

    def read(self) -> list[bytes]:
        """The same as objects."""
        return [self.datagrams.packet(index) for index in range(self.receive())]

    def sender(self, index: int) -> tuple[str, int]:
        """Host and port that sent one of those that were received last."""
        return _address(self.datagrams.name(index))

    def senders(self, count: int) -> Callable[[int], tuple[str, int]]:
        """The same for so many of them, to be asked after the next are received."""
        names = [self.datagrams.name(index) for index in range(count)]
        return lambda index: _address(names[index])


class ManyDatagrams:
    """What one UDP socket receives, many at a time. Raises NoRecvmmsgError.

    Reserves 4 MiB of addresses; memory is only used where datagrams longer than 2 KiB come.
    """

    def __init__(self, sock: socket.socket) -> None:
        try:
            self._call = ctypes.CDLL(None, use_errno=True).recvmmsg if sys.platform == "linux" else None
        except (AttributeError, OSError):
            self._call = None
        if self._call is None:
            raise NoRecvmmsgError
        self._call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._socket = sock
        self._slots, slots = _memory(AT_ONCE * _SLOT)
        self._rests, rests = _memory(AT_ONCE * _REST)
        self._names, names = _memory(AT_ONCE * _NAME)
        # The kernel follows these pointers: all of this lives as long as the object.
        self._pieces = (_Piece * (2 * AT_ONCE))()
        self._messages = (_Message * AT_ONCE)()
        pieces = ctypes.addressof(self._pieces)
        for index, message in enumerate(self._messages):
            self._pieces[2 * index] = _Piece(slots + index * _SLOT, _SLOT)
            self._pieces[2 * index + 1] = _Piece(rests + index * _REST, _REST)
            header = message.header
            header.name, header.name_length = names + index * _NAME, _NAME
            header.pieces, header.piece_count = pieces + 2 * index * ctypes.sizeof(_Piece), 2
        words = memoryview(self._messages).cast("B").cast("I")
        self._lengths = words[_Message.length.offset // 4 :: ctypes.sizeof(_Message) // 4]
        self._starts = tuple(range(0, AT_ONCE * _SLOT, _SLOT))
        self._address = ctypes.addressof(self._messages)

    def read(self) -> list[bytearray]:
        """What waits, at most ``AT_ONCE`` datagrams; fewer mean that no more waits. Raises NoRecvmmsgError."""
        assert self._call is not None
        count: int = self._call(self._socket.fileno(), self._address, AT_ONCE, _MSG_DONTWAIT, None)
        if count <= 0:
            # Anything but these is emptiness, or the report of an earlier packet's fate, which is none of ours.
            if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
                raise NoRecvmmsgError
            return []
        slots, lengths = self._slots, self._lengths[:count].tolist()
        if max(lengths) > _SLOT:
            return [self._whole(index, length) for index, length in enumerate(lengths)]
        return [slots[start : start + length] for start, length in zip(self._starts, lengths, strict=False)]

    def _whole(self, index: int, length: int) -> bytearray:
        start, rest = index * _SLOT, index * _REST
        packet = self._slots[start : start + min(length, _SLOT)]
        return packet + self._rests[rest : rest + length - _SLOT] if length > _SLOT else packet

    def senders(self, count: int) -> Callable[[int], tuple[str, int]]:
        """Host and port that sent each of the datagrams of the last read, to be asked after the next one."""
        names = bytes(self._names[: count * _NAME])
        return lambda index: _address(names[index * _NAME : (index + 1) * _NAME])


def many_datagrams(sock: socket.socket) -> CompiledDatagrams | ManyDatagrams:
    """The quickest of the two that there is. Raises NoRecvmmsgError."""
    return ManyDatagrams(sock) if Datagrams is None else CompiledDatagrams(sock)


def _address(name: bytes) -> tuple[str, int]:
    """What a sockaddr_in or sockaddr_in6 says."""
    port = int.from_bytes(name[2:4], "big")
    if int.from_bytes(name[:2], sys.byteorder) == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port


def _memory(size: int) -> tuple[bytearray, int]:
    """Bytes, and where they are. Untouched pages of it take no memory."""
    memory = bytearray(size)
    return memory, ctypes.addressof((ctypes.c_char * size).from_buffer(memory))
