"""Knows how samples become observations that the module metrics merges over the tree of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brokersim.brokermod import Handle

from ..sending.gaps import Gap
from ..sending.series import Sample
from .base import Sink


class Metrics(Sink):
    """Stream ``probe.<measurement>``, key ``{subject, metric}``; what no stat listens to costs next to nothing."""

    has_times = False

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        if not hasattr(handle, "observe"):
            raise ValueError("metrics: this broker's handles have no observe()")

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        # Taken anew for each batch: it is another function when somebody begins to listen.
        observe = self.handle.observe
        for one in samples:
            series = one.series
            key = {"subject": series.subject, "metric": series.metric, **series.attributes}
            observe(f"probe.{series.measurement}", key, one.value)
