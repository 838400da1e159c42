"""Knows the line file: one JSON document a line, a series before its first sample; whole lines or none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from brokersim.brokermod import Handle, files

from ..sending.gaps import Gap
from ..sending.series import Sample, Series
from .base import Down, Sink


class LineFile(Sink):
    """Appends to ``path``; ``{rank}`` in it is the rank. A full disk is waited for, a file that was rotated away or
    removed is begun anew, with all series in it."""

    options: ClassVar[dict[str, Any]] = {"path": ""}

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if not config["path"]:
            raise ValueError("lines needs a path")

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        self._path = str(config["path"]).replace("{rank}", str(handle.rank))
        self._open()
        self._described: list[dict[str, Any]] = []
        #: Of series that stand in the file: what was said of them.
        self._known: dict[str, dict[str, Any]] = {}

    def describe(self, series: Series) -> None:
        self._described.append({"series": series.describe()})

    def _open(self) -> None:
        self._fd = files.open_output(self._path, append=True)
        found = os.fstat(self._fd)
        self._file = (found.st_dev, found.st_ino)

    def _is_another(self) -> bool:
        """Is there another file by that name now, or none? Then it is opened."""
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == self._file:
                return False
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Down(f"{self._path}: {error.strerror}") from None
        old = self._fd
        try:
            self._open()
        except (OSError, ValueError) as error:
            raise Down(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None
        os.close(old)
        return True

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        if self._is_another():
            self._described = [*self._known.values(), *self._described]
            self._known.clear()
        documents: list[dict[str, Any]] = [*self._described, *(gap.to_dict() for gap in gaps)]
        documents += (
            {"mid": one.series.mid, "ts": one.ts_ns / 1e9, "seq": one.seq, "value": one.value}
            for one in samples
        )
        data = b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
        self._write(data)
        self._known.update((one["series"]["mid"], one) for one in self._described)
        self._described = []

    def append(self, data: bytes) -> None:
        """Other lines, whole or not at all. Raises Down."""
        self._is_another()
        self._write(data)

    def _write(self, data: bytes) -> None:
        """All of it or nothing: what a full disk cut short is taken back, or it would stand there twice."""
        try:
            before = os.fstat(self._fd).st_size
            try:
                if os.write(self._fd, data) == len(data):
                    return
            except OSError:
                os.ftruncate(self._fd, before)
                raise
            os.ftruncate(self._fd, before)
        except OSError as error:
            raise Down(f"{self._path}: {error.strerror}") from None
        raise Down(f"{self._path}: no room for {len(data)} bytes")

    def close(self) -> None:
        os.close(self._fd)
