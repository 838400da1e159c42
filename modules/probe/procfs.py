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


class Recording(ProcFS):
    """This machine's files; what is read of them is kept below ``folder``, as a tree to read again."""

    __slots__ = ("_folder", "_listed", "count")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._listed: list[str] = []
        #: Files that were kept.
        self.count = 0

    def read(self, path: str) -> bytes:
        return self._kept(path, super().read(path))

    def read_again(self, path: str) -> bytes:
        return self._kept(path, super().read_again(path))

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        self._listed += [f"{path}/{name}" for name in found]
        return found

    def _kept(self, path: str, data: bytes) -> bytes:
        place = self._folder / path
        self.count += not place.exists()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return data

    def close(self) -> None:
        """What was listed and not read is there by its name."""
        super().close()
        for path in self._listed:
            place = self._folder / path
            if not place.exists() and (place.parent.is_dir() or not place.parent.exists()):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.mkdir() if os.path.isdir(f"/{path}") else place.touch()
        self._listed.clear()
