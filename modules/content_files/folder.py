"""Knows how named pieces of data lie in a folder, each in a file that is whole or not there; not what they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from brokersim.brokermod import RequestError, errnums

#: What a file is called until it is whole.
_UNDONE: Final = ".new"


class Folder:
    """One folder, made if it is not there. Every method raises RequestError with the errnum of the file system."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        self.path = path
        try:
            if is_new:
                shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _refused(path, error) from None

    def read(self, name: str) -> bytes:
        """Raises RequestError(ENOENT) if there is none."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise _refused(self.path / name, error) from None

    def write(self, name: str, data: bytes) -> None:
        """Put it there, in place of what was."""
        undone = self.path / f"{name}{_UNDONE}"
        try:
            undone.write_bytes(data)
            os.replace(undone, self.path / name)
        except OSError as error:
            undone.unlink(missing_ok=True)
            raise _refused(self.path / name, error) from None

    def count(self) -> int:
        """How many there are."""
        return sum(not entry.name.endswith(_UNDONE) for entry in os.scandir(self.path))


def _refused(path: Path, error: OSError) -> RequestError:
    return RequestError(error.errno or errnums.EIO, f"{path}: {error.strerror}")
