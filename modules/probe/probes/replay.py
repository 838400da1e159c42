"""Knows two probes that read nothing: one that answers a value, one that answers what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from brokersim.brokermod import files

from ..contract import Context, Field, Probe


class Dummy(Probe):
    """Sleeps ``duration`` s and answers ``value``; with ``fail`` it raises instead. For tests and for what is paid."""

    summary = "sleeps, and answers a value"
    fields: ClassVar[dict[str, Field]] = {"value": Field()}
    options: ClassVar[dict[str, Any]] = {"value": 1.0, "duration": 0.0, "fail": ""}
    reads_machine = False

    def read(self) -> Any:
        if self.config["duration"]:
            return self._later()
        if self.config["fail"]:
            raise ValueError(self.config["fail"])
        return {"value": self.config["value"]}

    async def _later(self) -> Any:
        await self.context.ask.sleep(self.config["duration"])
        if self.config["fail"]:
            raise ValueError(self.config["fail"])
        return {"value": self.config["value"]}


class Replay(Probe):
    """Answers recorded readings one by one, from ``readings`` or from ``file``, a JSON document a line.

    At their end it begins again, or with ``once`` answers nothing any more.
    """

    summary = "answers recorded readings, one by one"
    options: ClassVar[dict[str, Any]] = {"readings": [], "file": "", "once": False}
    reads_machine = False

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if bool(config.get("readings")) == bool(config.get("file")):
            raise ValueError("give either readings, a list of answers, or file, one JSON document a line")

    def open(self, context: Context) -> None:
        super().open(context)
        self._readings: list[Any] = self.config["readings"] or _lines(Path(self.config["file"]))
        if not self._readings:
            raise ValueError(f"{self.config['file']}: no reading in it")
        self._next = 0

    def read(self) -> Any:
        if self._next >= len(self._readings):
            if self.config["once"]:
                return None
            self._next = 0
        self._next += 1
        return self._readings[self._next - 1]


def _lines(path: Path) -> list[Any]:
    found = []
    for number, line in enumerate(files.read_bytes(path).splitlines(), 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line))
            except (msgspec.DecodeError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    return found
