"""Knows how far an experiment of many runs is, and about when it ends; not who looks."""

from __future__ import annotations

import time
from collections.abc import Callable

from brokersim.lab.result import Say

WIDTH = 24


class Progress:
    """Tells what is done, and one line of a bar with the time that is left, from how long the runs took so far."""

    def __init__(self, runs: int, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._say = say
        self._clock = clock
        self._start = clock()
        self._begun = 0
        self._name = ""
        self._lines: list[str] = []

    def begin(self, name: str) -> None:
        """One more run."""
        self._begun += 1
        self._name = name
        self.step(name)

    def step(self, text: str) -> None:
        """How far the run is, in its own words."""
        done = self._begun - 1
        bar = "#" * (WIDTH * done // self._runs)
        left = ""
        if done:
            seconds = (self._clock() - self._start) / done * (self._runs - done)
            left = f"  {seconds:.0f} s left"
        self._say("\n".join([*self._lines, f"[{bar:<{WIDTH}}]{left}  {text or self._name}"]))

    def done(self, line: str) -> None:
        """A row that is final; it stays above the bar."""
        self._lines.append(line)
        self.step(self._name)
