"""Knows how samples become rows of a run database of their own: brokersim report reads it as it reads others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from brokersim.brokermod import Handle, RunDatabase

from ..outqueue import Gap
from ..series import Sample, Series
from .base import Down, Sink


class RunDatabaseSink(Sink):
    """Writes to ``path`` (``{rank}`` in it is the rank), names as statsd has them, times as they were read."""

    options: ClassVar[dict[str, Any]] = {"path": ""}
    has_text = False

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        if not config["path"]:
            raise ValueError("rundb needs a path")
        path = Path(str(config["path"]).replace("{rank}", str(handle.rank)))
        self._database = RunDatabase(
            path, {"source": "measured", "module": handle.name, "rank": str(handle.rank)}
        )
        self._prefix = f"flux.{handle.name}.{handle.rank}."

    def describe(self, series: Series) -> None:
        """Made with its first row."""

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        try:
            # Of two values of one instant the last stands, so that a batch sent twice is there once.
            self._database.write(
                (self._prefix + one.series.name, one.ts_ns / 1e9, one.value)
                for one in samples
                if not isinstance(one.value, str)
            )
        except OSError as error:
            raise Down(str(error)) from None

    def close(self) -> None:
        self._database.close()
