"""Knows what a sink is: it takes batches of samples, at once or later, or says why not."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, ClassVar

from brokersim.brokermod import Handle

from ..sending.gaps import Gap
from ..sending.series import Sample, Series


class Down(Exception):
    """It takes nothing now; tried again later, after ``retry_after`` s if it said so."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Refused(Exception):
    """It will never take this batch."""


class Partly(Exception):
    """It has taken this batch but for some samples, which it will never take; nobody knows which."""

    def __init__(self, text: str, count: int) -> None:
        super().__init__(text)
        self.count = count


class Sink:
    """Takes samples. Never blocks the loop for longer than a write to a file takes."""

    #: Keys of its configuration with their defaults.
    options: ClassVar[dict[str, Any]] = {}
    has_times = True
    has_text = True
    #: Where its requests go and the bytes of the last one, of a sink that sends any.
    target = ""
    size = 0
    #: Nothing is listening, and nothing will: samples are suppressed, and counted so.
    is_off = False

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        self.handle = handle
        self.config = config

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """Is there all that it needs, whichever machine it is on? Raises ValueError."""

    def describe(self, series: Series) -> None:
        """A series comes for the first time; its first sample follows."""

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> Awaitable[None] | None:
        """Take a batch, at once or when what is returned has been awaited. Raises Down, Refused."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""
