"""Knows how files of ``/proc`` and ``/sys`` are read, here or from a recorded tree; not what is in them.

It is the only way to them: whatever reads through it can be fed a tree recorded elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CHUNK: Final = 16384
#: The kernel hands out whole records while they fit into a page: after less than half of one there are no more, and to
#: ask would have it make the file anew. No record of these files is longer.
_SURE: Final = 2048
#: A file beyond this is none that the kernel makes.
_LIMIT: Final = 16 << 20


class ProcFS:
    """Files below ``root``, by paths such as ``proc/stat``."""

    __slots__ = ("_open", "_root")

    def __init__(self, root: str | Path = "/") -> None:
        self._root = os.fspath(root).rstrip("/") + "/"
        #: Files that are read again and again stay open: to open one costs more than to read it.
        self._open: dict[str, int] | None = None

    @property
    def is_this_machine(self) -> bool:
        """Not a recorded tree."""
        return self._root == "/"

    def read(self, path: str) -> bytes:
        """The bytes of a file now. Raises OSError."""
        fd = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _pread(fd)
        finally:
            os.close(fd)

    def read_again(self, path: str) -> bytes:
        """As `read`, for one of the few files read each time: it stays open until `close`. Raises OSError."""
        if self._open is None:
            self._open = {}
        fd = self._open.get(path)
        if fd is None:
            fd = self._open[path] = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC)
        return _pread(fd)

    def read_text(self, path: str) -> str:
        """A short file as text without its line end. Raises OSError."""
        return self.read(path).decode(errors="replace").strip()

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted. Raises OSError."""
        return sorted(os.listdir(self._root + path))

    def close(self) -> None:
        """Close what stayed open."""
        for fd in (self._open or {}).values():
            os.close(fd)
        self._open = None


def _pread(fd: int) -> bytes:
    data = os.pread(fd, _CHUNK, 0)
    if len(data) < _SURE:
        return data
    while len(data) < _LIMIT:
        more = os.pread(fd, _CHUNK, len(data))
        if not more:
            break
        data += more
    return data
