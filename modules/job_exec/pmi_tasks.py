"""Knows how the tasks of one job reach its PMI: a channel each; not what the requests mean (pmi)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from brokersim.brokermod import process

from .pmi import Aborted, Lines, Pmi, ProtocolError, shown

VARIABLE: Final = "PMI_FD"
#: Bytes of answers that a task has not read yet. It waits for one before it asks again, so that is far too many.
_UNREAD_MAX: Final = 1 << 20


class PmiTasks:
    """One channel a task, all to one PMI."""

    __slots__ = ("_lines", "_pmi", "channels", "on_abort", "on_fault", "on_line")

    def __init__(self, pmi: Pmi, ntasks: int) -> None:
        self._pmi = pmi
        self._lines = [Lines() for _ in range(ntasks)]
        self.channels = [process.Channel(VARIABLE, partial(self._take, task)) for task in range(ntasks)]
        #: Told once that a task wants the job to end, or speaks another language.
        self.on_abort: Callable[[str], object] = _ignore
        self.on_fault: Callable[[str], object] = _ignore
        #: Told of each line: task, ``C`` or ``S`` for who said it, text.
        self.on_line: Callable[[int, str, str], object] | None = None

    def _take(self, task: int, data: bytes) -> None:
        try:
            for line in self._lines[task].take(data):
                self._trace(task, "C", line)
                for one, answer in self._pmi.ask(task, line):
                    self._trace(one, "S", answer)
                    if self.channels[one].pending > _UNREAD_MAX:
                        raise ProtocolError("a task does not read its answers")
                    self.channels[one].send(answer.encode(errors="surrogateescape") + b"\n")
        except Aborted as error:
            self._end(self.on_abort, str(error))
        except ProtocolError as error:
            self._end(self.on_fault, str(error))

    def _trace(self, task: int, who: str, line: str) -> None:
        if self.on_line is not None:
            self.on_line(task, who, shown(line))

    def _end(self, tell: Callable[[str], object], text: str) -> None:
        # Of tasks that are ended for the first one's sake the rest of what they say does not matter.
        self.on_abort = self.on_fault = _ignore
        tell(text)


def _ignore(_: str) -> None:
    """It is over."""
