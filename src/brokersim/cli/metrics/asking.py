"""Knows what errors of the metrics service mean to a person: no module there, no such stat."""

from __future__ import annotations

from brokersim.cli.errors import CommandError, answered
from brokersim.cli.session import Explain
from brokersim.protocol.errnums import ENOENT, ENOSYS, RequestError


def explain(name: str = "") -> Explain:
    """The three lines for whoever asked about a stat of that name."""

    def told(error: RequestError) -> CommandError | None:
        if error.errno == ENOSYS:
            add = f"brokersim metrics add {name or 'counters'}"
            return answered(
                error, "nobody counts here: the module metrics is not loaded on rank 0", attempt=add
            )
        if error.errno == ENOENT:
            return answered(error, error.text or f"no stat {name!r}", attempt="brokersim metrics list")
        return None

    return told
