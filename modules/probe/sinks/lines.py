"""Knows the line file: one JSON document a line, a series before its first sample; whole lines or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from brokersim.brokermod import Handle, files

from ..sending.gaps import Gap
from ..sending.series import Sample, Series
from .base import Down, Sink


class LineFile(Sink):
    """Appends to ``path``; ``{rank}`` in it is the rank. A full disk is waited for."""

    options: ClassVar[dict[str, Any]] = {"path": ""}

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        if not config["path"]:
            raise ValueError("lines needs a path")
        self._path = str(config["path"]).replace("{rank}", str(handle.rank))
        self._fd = files.open_output(self._path, append=True)
        self._described: list[dict[str, Any]] = []

    def describe(self, series: Series) -> None:
        self._described.append({"series": series.describe()})

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        documents: list[dict[str, Any]] = [*self._described, *(gap.to_dict() for gap in gaps)]
        documents += (
            {"mid": one.series.mid, "ts": one.ts_ns / 1e9, "seq": one.seq, "value": one.value}
            for one in samples
        )
        data = b"".join(msgspec.json.encode(document) + b"\n" for document in documents)
        self._write(data)
        self._described = []

    def append(self, data: bytes) -> None:
        """Other lines, whole or not at all. Raises Down."""
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
