"""Knows which files stand in for blobs (``content.mmap-add``), and where in them a blob is; not who asks for it.

Nothing is copied: a blob is read when it is wanted, and its hash tells whether the file is still what it was.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

import attrs

from brokersim.brokermod import RequestError, blobref, errnums

#: Largest blob of a file: what is larger could not be sent.
CHUNK_MAX: Final = 1 << 30


@attrs.frozen
class Part:
    """A blob that is ``size`` bytes of a file from ``offset`` on."""

    path: str
    offset: int
    size: int


@attrs.define(eq=False)
class File:
    """One file under a tag, by the digests of its parts."""

    path: str
    parts: dict[bytes, Part]


class Mapped:
    """Files by their tags, and all parts of all files by digest."""

    __slots__ = ("_files", "_parts")

    def __init__(self) -> None:
        self._files: dict[str, list[File]] = {}
        self._parts: dict[bytes, Part] = {}

    def __bool__(self) -> bool:
        """Is any file mapped?"""
        return bool(self._parts)

    def add(self, path: str, chunksize: int, tag: str) -> None:
        """Map a regular file with something in it, in parts of at most ``chunksize`` bytes (0: as they come).

        Raises RequestError: EINVAL for what cannot be mapped, or the system's errnum.
        """
        if not path.startswith("/"):
            raise RequestError(errnums.EINVAL, "path must be fully qualified")
        if chunksize < 0:
            raise RequestError(errnums.EINVAL, f"chunksize is a number of bytes, not {chunksize}")
        try:
            file = File(path, _hashed(path, min(chunksize or CHUNK_MAX, CHUNK_MAX)))
        except OSError as error:
            raise RequestError(error.errno or errnums.EIO, f"{path}: {error.strerror}") from None
        except ValueError as error:  # no name of a file: a NUL is in it
            raise RequestError(errnums.EINVAL, f"{path!r:.80}: {error}") from None
        if not file.parts:
            raise RequestError(errnums.EINVAL, f"{path}: not suitable for mapping")
        self._files.setdefault(tag, []).append(file)
        for digest, part in file.parts.items():
            self._parts.setdefault(digest, part)

    def remove(self, tag: str) -> None:
        """The files of a tag stand in for nothing any more; a tag that is none has none."""
        if self._files.pop(tag, None) is None:
            return
        # What was found in one of them may be in another as well.
        self._parts = {
            digest: part
            for files in self._files.values()
            for file in files
            for digest, part in file.parts.items()
        }

    def find(self, digest: bytes) -> bytes | None:
        """The blob, if a file has it. Raises RequestError(EINVAL) if the file is another now."""
        part = self._parts.get(digest)
        if part is None:
            return None
        try:
            descriptor = os.open(part.path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                data = os.pread(descriptor, part.size, part.offset)
            finally:
                os.close(descriptor)
        except OSError:
            data = b""
        if blobref.as_blob(data).digest != digest:
            # The path is left out: flux-core's command has room for 160 characters, and names the file itself.
            raise RequestError(errnums.EINVAL, "mapped file content has changed")
        return data

    def to_dict(self) -> dict[str, object]:
        """Paths by tag, and the number of blobs."""
        tags = {tag: [file.path for file in files] for tag, files in self._files.items()}
        return {"tags": tags, "blobs": len(self._parts)}


def _hashed(path: str, chunksize: int) -> dict[bytes, Part]:
    """The parts of a file, none if it is no regular one. Raises OSError."""
    # As flux-core: no link is followed, and a pipe is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return {}
        return {
            blobref.as_blob(os.pread(descriptor, size, offset)).digest: Part(path, offset, size)
            for offset, size in _pieces(descriptor, chunksize)
        }
    finally:
        os.close(descriptor)


def _pieces(descriptor: int, chunksize: int) -> Iterator[tuple[int, int]]:
    """Offset and size of each piece between the holes of a file."""
    end, offset = os.fstat(descriptor).st_size, 0
    while offset < end:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        size = min(os.lseek(descriptor, offset, os.SEEK_HOLE) - offset, chunksize)
        yield offset, size
        offset += size
