"""Knows how long to wait for a child: a limit learnt from its answers as TCP learns its own (RFC 6298)."""

from __future__ import annotations

#: Seconds below which no silence counts.
FLOOR = 1.0
#: Seconds a hop keeps for itself of the time it is given, at least.
MARGIN = 0.01


class Limit:
    """The silence limit for one child and stat; all in seconds."""

    __slots__ = ("_factor", "rttvar", "srtt")

    def __init__(self) -> None:
        self.srtt: float | None = None
        self.rttvar = 0.0
        self._factor = 1.0

    def sample(self, waited: float) -> None:
        """A frame came after so long a wait; a late one counts too, so that the limit can grow."""
        if self.srtt is None:
            self.srtt, self.rttvar = waited, waited / 2
        else:
            self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - waited)
            self.srtt = 0.875 * self.srtt + 0.125 * waited
        self._factor = 1.0

    def expired(self) -> None:
        """It was too short, or the child is gone: doubled."""
        self._factor *= 2.0

    @property
    def learnt(self) -> float | None:
        """srtt + 4 rttvar; None before the first sample."""
        return None if self.srtt is None else self.srtt + 4 * self.rttvar

    def seconds(self, budget: float) -> float:
        """How long to wait in silence, at most the budget; all of that the first time."""
        if self.learnt is None:
            return budget
        return min(budget, max(FLOOR, self.learnt) * self._factor)

    def margin(self) -> float:
        """What this hop keeps of the budget it hands down."""
        return MARGIN if self.learnt is None else max(MARGIN, self.learnt)
