"""Knows how a file that somebody named is read and written: so much at most, whole or not at all; not what is in it.

A name may lead to a device without an end, to a pipe nobody writes to, or to what others are reading. Every failure is
an OSError with the path and a sentence that can be shown as it is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final, Protocol

#: Bytes of an input. Logs of whole machines, as they are published, have a tenth of that; all of it is held in memory.
INPUT_MAX: Final = 512 << 20
#: Bytes of one line of it: our longest, a record of a message's trace with its payload, stay below.
LINE_MAX: Final = 64 << 20
#: How every SQLite file begins.
SQLITE: Final = b"SQLite format 3\0"
_CHUNK: Final = 1 << 20
#: Letters of a name that one for the file beside it is made of: the longest name has 255 bytes.
_NAME: Final = 40


class Readable(Protocol):
    """A file, or one that is unpacked as it is read."""

    def readline(self, size: int = -1, /) -> bytes: ...


def read_bytes(path: Path | str, most: int | None = None) -> bytes:
    """All of a file, a pipe or a device that ends within ``most`` bytes. Raises OSError."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        is_longer = status.st_size > (most or INPUT_MAX)
        if stat.S_ISREG(status.st_mode) and is_longer:  # a hole of 2 TB costs nothing to make
            raise too_large(path, most)
        return read_all(file, path, most)


def read_unless(path: Path | str, start: bytes, most: int | None = None) -> bytes | None:
    """All of a file; None, and no more is read, if it begins so: of a database its library takes what it needs.

    Opened once, as a pipe gives what it has once. Raises OSError.
    """
    with open(path, "rb") as file:
        found = file.read(len(start))
        return None if found == start else found + read_all(file, path, most)


def files_of(folder: Path | str, suffix: str) -> list[Path]:
    """What is in a folder and is called ``*SUFFIX``, by name; what begins with a dot is somebody's own.

    Raises OSError, where ``Path.glob`` finds nothing in a folder that it may not read.
    """
    names = [name for name in os.listdir(folder) if name.endswith(suffix) and name[:1] != "."]
    return [Path(folder, name) for name in sorted(names)]


def read_all(file: IO[bytes], name: Path | str, most: int | None = None) -> bytes:
    """What is left of an open file; of what unpacks itself, ``most`` is counted unpacked. Raises OSError."""
    found = bytearray()
    while part := file.read(_CHUNK):
        found += part
        if len(found) > (most or INPUT_MAX):
            raise too_large(name, most)
    return bytes(found)


def read_text(path: Path | str, most: int | None = None) -> str:
    """The same as text; a mark that it is UTF-8 is no part of it. Raises OSError, for what is no text, too."""
    try:
        text = read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"not UTF-8 text, at byte {error.start}", str(path)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def lines_of(file: Readable, name: Path | str, most: int | None = None) -> Iterator[bytes]:
    """The lines of an open file, with their ends; no line and no file is read without end. Raises OSError."""
    left = most or INPUT_MAX
    number = 0
    while line := file.readline(LINE_MAX + 1):
        number += 1
        left -= len(line)
        if len(line) > LINE_MAX:
            raise OSError(errno.EFBIG, f"line {number} has no end within {_size(LINE_MAX)}", str(name))
        if left < 0:
            raise too_large(name, most)
        yield line


def too_large(name: Path | str, most: int | None = None) -> OSError:
    """What is said of an input that is no input."""
    return OSError(
        errno.EFBIG, f"more than {_size(most or INPUT_MAX)}, which is the most that is read", str(name)
    )


def _size(count: int) -> str:
    return f"{count >> 20} MiB"


def write_file(path: Path | str, data: bytes | str) -> None:
    """What the file holds from now on: whole, or what was there before. Raises OSError."""
    raw = data.encode() if isinstance(data, str) else data
    replace_file(path, lambda file: file.write(raw))


def replace_file(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Like ``write_file``, of what ``write`` writes into an open file.

    A link stays and what it leads to is replaced; rights stay, too. A device or a pipe has no other name to be written
    under: it is written into. Raises OSError; of our own under ``path``, whatever the file beside it is called.
    """
    with _blamed(path):
        status = _status(path)
        if status is None or stat.S_ISREG(status.st_mode):
            _replace(Path(os.path.realpath(path)), status, write)
            return
        with open(path, "wb") as file:  # of a folder the error says that it is one
            write(file)


def _status(path: Path | str) -> os.stat_result | None:
    """None if nothing is there. Raises OSError, for a link that leads to itself, too."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _replace(target: Path, status: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    if status is not None:
        _check_writable(target)
    # A name of its own for each that writes; made by us, or not used: what is there may be somebody's link.
    beside = target.with_name(f".{target.name[:_NAME]}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        number = os.open(beside, flags, 0o666 if status is None else 0o600)
    except PermissionError:
        if status is None:
            raise
        with open(target, "wb") as file:  # one that may be written, in a folder that takes no other
            write(file)
        return
    try:
        with open(number, "wb") as file:
            write(file)
            file.flush()
            if status is None or _takes_after(number, status):
                os.fsync(number)  # or its new name may be on the disk before it
                os.replace(beside, target)
                return
        shutil.copyfile(beside, target)  # somebody else's, who is to keep it
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _check_writable(path: Path | str) -> None:
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _takes_after(number: int, status: os.stat_result) -> bool:
    """Give an open file owner, group and rights of another; False if that is not for us to do."""
    try:
        ours = os.fstat(number)
        if (ours.st_uid, ours.st_gid) != (status.st_uid, status.st_gid):
            os.fchown(number, status.st_uid, status.st_gid)
        os.fchmod(number, stat.S_IMODE(status.st_mode))
    except PermissionError:
        return False
    return True


@contextlib.contextmanager
def _blamed(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    except ValueError as error:  # a NUL in it
        raise OSError(errno.EINVAL, str(error), str(path)) from None


def check_output(path: Path | str) -> None:
    """Raises OSError if nothing can be written there: to be said before the work, not behind it. Makes nothing."""
    with _blamed(path):
        status = _status(path)
        if status is None:
            _check_takes_files(Path(os.path.realpath(path)).parent)
        elif stat.S_ISREG(status.st_mode):
            _check_writable(path)
        elif stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def check_folder(path: Path | str) -> None:
    """The same of a folder, which may have to be made, with those above it."""
    with _blamed(path):
        there = Path(os.path.realpath(path))
        _status(path)
        while _status(there) is None:
            there = there.parent
        _check_takes_files(there)


def _check_takes_files(folder: Path) -> None:
    number = 0
    if not stat.S_ISDIR(folder.stat().st_mode):
        number = errno.ENOTDIR
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number))


def open_output(path: Path | str, *, append: bool) -> int:
    """A descriptor of a file that the broker writes, made if there is none; never waits. Raises OSError."""
    return _open_at_once(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))


def open_input(path: Path | str) -> int:
    """A descriptor of a file for a command of the broker's; never waits. Raises OSError."""
    return _open_at_once(path, os.O_RDONLY)


def _open_at_once(path: Path | str, flags: int) -> int:
    """Not of a pipe: one that has no other end, or a slow one, would hold the broker and everybody in it."""
    with _blamed(path):
        with contextlib.suppress(FileNotFoundError):
            _check_no_pipe(os.stat(path))
        number = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        try:
            _check_no_pipe(os.fstat(number))
        except OSError:
            os.close(number)
            raise
        os.set_blocking(number, True)
        return number


def _check_no_pipe(status: os.stat_result) -> None:
    if stat.S_ISFIFO(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe, whose other end could hold the broker; give a file")
