"""Knows what is told of samples that were dropped: from where to where each series has a hole; not why."""

from __future__ import annotations

from typing import Any, Final

import attrs

#: Gap records kept; beyond, neighbouring series' gaps are only counted.
GAPS_MAX: Final = 1000


@attrs.define(eq=False)
class Gap:
    """Samples of a series that were dropped, from one seq to another; the sink is told when it is back."""

    mid: str
    first: int
    last: int

    def to_dict(self) -> dict[str, Any]:
        return {"gap": self.mid, "from": self.first, "to": self.last}


def note(gaps: list[Gap], mid: str, seq: int) -> None:
    """One more that is not there, at either end of its series' latest hole, or in one of its own."""
    for gap in reversed(gaps):
        if gap.mid == mid:
            if seq in (gap.first - 1, gap.last + 1):
                gap.first, gap.last = min(gap.first, seq), max(gap.last, seq)
                return
            break
    if len(gaps) < GAPS_MAX:
        gaps.append(Gap(mid, seq, seq))
