"""Knows how many examples a test looks at; not what they are.

`make test` draws the same ones in every run, and what they say of unchanged code they have said before: it looks at a
share of them. All are looked at where they are drawn anew: by `make hunt`, and when tests are run by hand.
"""

from __future__ import annotations

import os

#: Whether examples are drawn the same in every run.
SAME = os.environ.get("BROKERSIM_EXAMPLES") == "same"
#: Of so few no one is left out: each is dear, and was chosen.
FEW = 8


def examples(number: int, same: bool = SAME) -> int:
    """How many to look at of what a test would look at: two of five where they are the same in every run."""
    return max(number * 2 // 5, min(number, FEW)) if same else number
