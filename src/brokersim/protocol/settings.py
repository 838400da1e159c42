"""Knows the written forms of an instance's settings: the clock's kind, a hook, what jobs do. Not what follows."""

from __future__ import annotations

import math

import attrs

from brokersim.protocol.duration import parse_duration

#: The hooks a module's loop has; ``timer:PERIOD`` is the fourth.
HOOKS = ("prepare", "check", "idle")
#: What a job does that does not say so itself: take its time, or run its command.
SIMULATED, REAL = JOBS = ("simulated", "real")


@attrs.frozen
class ClockKind:
    """Parsed form of ``real``, ``real*N`` or ``virtual``; ``speed`` 0 stands for virtual."""

    speed: float

    @property
    def is_virtual(self) -> bool:
        return self.speed == 0

    @classmethod
    def parse(cls, text: str) -> ClockKind:
        """Raises ValueError that says what would be right."""
        name, star, factor = text.partition("*")
        try:
            speed = float(factor) if star else 1.0
        except ValueError:
            speed = math.nan
        if text == "virtual":
            return cls(0.0)
        if name == "real" and 0 < speed < math.inf:
            return cls(speed)
        raise ValueError(
            f"not a clock: {text!r}; give real, virtual or real*N (real*8 runs eight times as fast)"
        )

    def __str__(self) -> str:
        return "virtual" if self.is_virtual else "real" if self.speed == 1 else f"real*{self.speed:g}"


def check_jobs(text: str) -> str:
    """``simulated``, ``real``, or ``""`` for what the clock suggests. Raises ValueError that says so."""
    if text and text not in JOBS:
        raise ValueError(f"not what jobs can be: {text!r}; give {' or '.join(JOBS)}")
    return text


def jobs_of(text: str, clock: ClockKind) -> str:
    """What jobs do: as ``text`` says, else real in real time and simulated under a virtual clock."""
    return text or (SIMULATED if clock.is_virtual else REAL)


def check_hook(text: str) -> str:
    """``prepare``, ``check``, ``idle`` or ``timer:PERIOD``. Raises ValueError that says so."""
    kind, colon, period = text.partition(":")
    if text in HOOKS or (kind == "timer" and colon and _is_period(period)):
        return text
    raise ValueError(f"not a hook: {text!r}; give prepare, check, idle or timer:FSD (timer:1s)")


def _is_period(text: str) -> bool:
    try:
        return 0 < parse_duration(text) < math.inf
    except ValueError:
        return False
