"""Knows how the next job id is made so that it is larger than every one before; not what the bits are (jobid)."""

from __future__ import annotations

from brokersim.brokermod import jobid


class FluidGenerator:
    """Job ids that only grow, whatever the clock does.

    More than 1,024 ids in one millisecond borrow from the next: a burst of 10,000 runs ten milliseconds ahead.
    """

    __slots__ = ("_generator", "_last", "_offset", "_sequence")

    def __init__(self, generator: int = 0) -> None:
        self._generator = generator
        self._offset = 0
        self._last = -1
        self._sequence = 0

    def start_after(self, largest: int) -> None:
        """Make only ids larger than ``largest``, for an instance that finds jobs of its former life."""
        milliseconds, _, _ = jobid.split(largest)
        self._offset = max(self._offset, milliseconds + 1)

    def timestamp(self, milliseconds: int) -> int:
        """What the ids of that moment begin with."""
        return milliseconds + self._offset

    def make(self, milliseconds: int) -> int:
        """The next id, ``milliseconds`` after the instance came up."""
        wanted = self.timestamp(milliseconds)
        if wanted > self._last:
            self._last, self._sequence = wanted, 0
        elif self._sequence < jobid.SEQUENCE_MAX:
            self._sequence += 1
        else:
            self._last, self._sequence = self._last + 1, 0
        return jobid.make(self._last, self._generator, self._sequence)
