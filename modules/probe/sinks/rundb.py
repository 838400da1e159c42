"""Knows how samples become rows of a run database of their own: brokersim report reads it as it reads others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from brokersim.brokermod import Handle, RunDatabase

from ..contract import COUNTER
from ..plan import part
from ..sending.gaps import Gap
from ..sending.series import Sample, Series
from .base import Down, Sink


class RunDatabaseSink(Sink):
    """Writes to ``path`` (``{rank}`` in it is the rank), names as statsd has them, times as they were read."""

    options: ClassVar[dict[str, Any]] = {"path": ""}
    has_text = False

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if not config["path"]:
            raise ValueError("rundb needs a path")

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        path = Path(str(config["path"]).replace("{rank}", str(handle.rank)))
        self._database = RunDatabase(
            path, {"source": "measured", "module": handle.name, "rank": str(handle.rank)}
        )
        self._prefix = f"flux.{handle.name}.{handle.rank}."
        self._facts: dict[str, str] = {}

    def describe(self, series: Series) -> None:
        """Made with its first row; whoever draws counters must know if they are no longer as they were counted."""
        if series.kind == COUNTER and series.form != "raw":
            self._facts[f"counters of {part(series.measurement)}"] = series.form

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        try:
            if self._facts:
                self._database.note(self._facts)
                self._facts = {}
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
