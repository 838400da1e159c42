"""Knows the files a jobspec brings along (``--add-file``, RFC 37's file objects); not which job they are for."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec


def extract(files: Any, folder: str) -> None:
    """Make them below ``folder``. Raises ValueError that names the file and what is wrong with it, or OSError."""
    if not folder:
        raise ValueError("files: this instance has no folder to put a job's files into")
    for path, entry in _entries(files):
        if not isinstance(entry, Mapping) or type(entry.get("mode")) is not int:
            raise ValueError(f"{path}: error decoding fileref object: it has no mode")
        _make(Path(folder) / _inside(str(entry.get("path", path))), entry["mode"], entry, path)


def _entries(files: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(files, Mapping):
        return files.items()
    if isinstance(files, list):
        return ((str(entry.get("path", "")) if isinstance(entry, Mapping) else "", entry) for entry in files)
    raise ValueError("files must be an object or a list of file objects")


def _inside(path: str) -> str:
    """The path, if it leads below the folder it is for."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(
            f"{path}: a file of a jobspec is put into the job's own folder, by a path that stays there"
        )
    return path


def _make(place: Path, mode: int, entry: Mapping[str, Any], path: str) -> None:
    if stat.S_ISDIR(mode):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(stat.S_IMODE(mode))
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(mode):
        if not isinstance(entry.get("data"), str):
            raise ValueError(f"{path}: missing symlink data")
        place.symlink_to(entry["data"])
    elif stat.S_ISREG(mode):
        data = _data(entry, path)
        place.write_bytes(data)
        size = entry.get("size", -1)
        if type(size) is int and size > len(data):
            os.truncate(place, size)  # what is behind the last block is a hole
        place.chmod(stat.S_IMODE(mode))
    else:
        raise ValueError(f"{path}: unknown file type (mode=0{mode:o})")


def _data(entry: Mapping[str, Any], path: str) -> bytes:
    data, encoding = entry.get("data"), entry.get("encoding")
    if data is None:
        return b""
    if encoding is None:
        return msgspec.json.encode(data)
    if encoding not in ("utf-8", "base64"):
        raise ValueError(f"{path}: unknown RFC 37 encoding {encoding!s:.40}")
    if not isinstance(data, str):
        raise ValueError(f"{path}: unexpected data type for {encoding}")
    try:
        return data.encode() if encoding == "utf-8" else base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{path}: could not decode base64 file data") from None
