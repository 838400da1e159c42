"""Knows how much may wait for a sink; not what."""

from __future__ import annotations

from typing import Final

import attrs

#: What a queue holds unless it is told otherwise.
MAX_SAMPLES: Final = 10_000
MAX_BYTES: Final = 1 << 20


@attrs.frozen(kw_only=True)
class Bounds:
    """What a queue is to be, as its sink's configuration says it; ``spool`` is a path, or empty."""

    max_samples: int = MAX_SAMPLES
    max_bytes: int = MAX_BYTES
    drop_newest: bool = False
    spool: str = ""
    spool_max: int = 0
