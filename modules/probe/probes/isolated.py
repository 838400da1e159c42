"""Knows probes that are read elsewhere: one of ours in a process of its own, a program that answers line by line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from ..contract import Context, Junk, Probe
from ..execution import Wish, words
from ..worker import Worker, WorkerGone
from .expand import expand

#: Seconds that a process may take until it can answer: an interpreter and its imports, on a busy machine.
START_MAX: Final = 30.0
_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "reader.py"


class Lasting(Probe):
    """What asks a program that lives as long as the measurement; one that has ended is started again."""

    _worker: Worker | None = None

    def wish(self) -> Wish:
        """What is to be run."""
        raise NotImplementedError

    def answer(self, line: bytes) -> Any:
        """What a line says. Raises Junk."""
        try:
            return msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Junk(f"{line[:60].decode(errors='replace')!r} is no JSON: {error}") from None

    def read(self) -> Any:
        worker = self._worker
        if worker is not None and worker.has_ended:
            self._worker = None
            if worker.trouble:
                raise WorkerGone(worker.trouble)
        if self._worker is None:
            worker = self._worker = self.context.ask.start(self.wish())
            self.starting = START_MAX
        assert worker is not None
        return self._later(worker)

    async def _later(self, worker: Worker) -> Any:
        line = await self.context.ask.line(worker)
        self.starting = 0.0
        return self.answer(line)

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


class Execd(Lasting):
    """A program of yours: it answers a reading, as JSON on a line, whenever it gets a newline on its input."""

    summary = "a program that lives on and answers a line of JSON for each newline"
    declares = True
    options: ClassVar[dict[str, Any]] = {"command": "", "argv": [], "args": {}, "cwd": ""}

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        return "it is a process of its own already"

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        _wish(config)

    def wish(self) -> Wish:
        return _wish(self.config)


def _wish(config: Mapping[str, Any]) -> Wish:
    given = [key for key in ("command", "argv") if config.get(key)]
    if len(given) != 1:
        raise ValueError(f"give one of command, argv, not {' and '.join(given) or 'none'}")
    argv = config.get("argv") or expand(config["command"], config.get("args") or {})
    return Wish(programs=(words(argv, "argv"),), cwd=config.get("cwd") or None)


class Isolated(Lasting):
    """One of ours, read in a process of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def open(self, context: Context) -> None:
        super().open(context)
        self._wish = Wish(programs=((sys.executable, str(_PROGRAM), self._what(context)),))

    def _what(self, context: Context) -> str:
        what = {"probe": self._name, "config": dict(context.config), "rank": context.ask.rank}
        return msgspec.json.encode(what).decode()

    def wish(self) -> Wish:
        return self._wish

    def answer(self, line: bytes) -> Any:
        told = super().answer(line)
        if not isinstance(told, dict) or len(told) != 1:
            raise Junk(f"{line[:60].decode(errors='replace')!r} is no answer of ours")
        if "error" in told:
            raise ValueError(told["error"])
        return told["answer"]
