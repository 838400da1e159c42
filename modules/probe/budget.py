"""Knows how long reads in the loop may take, and what they took; not what is read."""

from __future__ import annotations

from typing import Final

import attrs

#: Seconds of the loop that one read may take, and how many slow ones in a row are too many: everybody waits for them.
READ_BUDGET: Final = 0.005
SLOW_LIMIT: Final = 3


@attrs.define(eq=False, weakref_slot=False)
class Budget:
    """Seconds of this process's own clock."""

    spent: float = 0.0
    _slow: int = 0

    @property
    def is_spent(self) -> bool:
        """Reads are slow again and again."""
        return self._slow >= SLOW_LIMIT

    def charge(self, took: float) -> bool:
        """A read took so long; whether that is slow."""
        self.spent += took
        self._slow = self._slow + 1 if took > READ_BUDGET else 0
        return self._slow > 0
