"""Knows a log that grows: its new lines, from where it stopped reading before; not what is in them.

The position is a device, an inode and an offset. Another inode under the name is a log that was rotated: the old file,
still open here, is read to its end first. A file shorter than the offset was truncated. A last line without its end
waits for it; one that grows beyond `LINE_MAX` is given up and counted.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import attrs

#: Bytes of a line.
LINE_MAX: Final = 64 << 10
#: Bytes asked of the file at once.
_CHUNK: Final = 256 << 10


@attrs.frozen
class Position:
    """Up to where a log was read."""

    device: int = 0
    inode: int = 0
    offset: int = 0


class Tail:
    """The lines of one file by its name, from a position on. Every method raises OSError."""

    def __init__(self, path: str, max_lines: int) -> None:
        self.path = path
        self.max_lines = max_lines
        self.cut = self.truncated = self.rotated = 0
        self._fd = -1
        self._device = self._inode = self._offset = 0
        self._is_skipping = False

    @property
    def position(self) -> Position:
        """What has been read."""
        return Position(self._device, self._inode, self._offset)

    def begin(self, at: Position | None, is_end: bool = False) -> None:
        """Open the file, at a position if that is of this very file, else at its begin or end."""
        self._open()
        if is_end:
            self._offset = os.fstat(self._fd).st_size
        elif at is not None and (at.device, at.inode) == (self._device, self._inode):
            self._offset = at.offset

    def lines(self) -> list[bytes]:
        """New whole lines, so many at most."""
        found = self._more(self.max_lines)
        if len(found) < self.max_lines and self._is_other_file():
            found += self._rest()  # nobody writes to it any more: what has no end is a line, too
            self.rotated += 1
            self._open()
            found += self._more(self.max_lines - len(found))
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        # Without waiting: a pipe under that name would hold the loop for ever.
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ValueError(f"{self.path} is no regular file")
        self.close()
        self._fd, self._device, self._inode, self._offset = fd, status.st_dev, status.st_ino, 0
        self._is_skipping = False

    def _is_other_file(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False  # between two: the new one comes
        return (status.st_dev, status.st_ino) != (self._device, self._inode)

    def _more(self, most: int) -> list[bytes]:
        if os.fstat(self._fd).st_size < self._offset:
            self.truncated += 1
            self._offset, self._is_skipping = 0, False
        found: list[bytes] = []
        while len(found) < most:
            data = os.pread(self._fd, _CHUNK, self._offset)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) <= LINE_MAX:
                    break
                self._skip(len(data))
                continue
            lines = data[:end].splitlines(keepends=True)[: most - len(found)]
            self._offset += sum(map(len, lines))
            if self._is_skipping:
                del lines[0]
                self._is_skipping = False
            found += self._short(lines)
        return found

    def _short(self, lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if len(line) <= LINE_MAX]
        self.cut += len(lines) - len(kept)
        return kept

    def _skip(self, size: int) -> None:
        self.cut += not self._is_skipping
        self._is_skipping = True
        self._offset += size

    def _rest(self) -> list[bytes]:
        data = os.pread(self._fd, LINE_MAX, self._offset)
        return [] if self._is_skipping or not data else [data]
