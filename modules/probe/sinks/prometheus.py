"""Knows the page that Prometheus reads: the newest number of each series, in a file that is always whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

from brokersim.brokermod import Handle, exposition, files

from ..contract import COUNTER
from ..sending.gaps import Gap
from ..sending.series import Sample, Series
from .base import Down, Sink

#: Seconds between two pages: a thousand measurements a second are one page a second.
PERIOD: Final = 1.0
#: Seconds after which a series that is not read any more is no longer on it, as in Prometheus itself.
STALE: Final = 300.0
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Prometheus(Sink):
    """Writes ``path`` (``{rank}`` in it is the rank) anew, for a textfile collector; no times, which that refuses."""

    options: ClassVar[dict[str, Any]] = {"path": ""}
    has_text = False

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if not config["path"]:
            raise ValueError("prometheus needs a path, such as /var/lib/node_exporter/probe-{rank}.prom")

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        self._path = str(config["path"]).replace("{rank}", str(handle.rank))
        self._newest: dict[str, Sample] = {}
        self._written = -PERIOD
        try:  # nothing is written yet: the rest of the configuration may be refused
            files.check_output(self._path)
        except OSError as error:
            raise Down(f"{self._path}: {error.strerror}") from None

    async def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        rest = self._written + PERIOD - self.handle.now()
        if rest > 0:
            await self.handle.sleep(rest)  # what comes meanwhile is in the next page
        self._newest.update((one.series.mid, one) for one in samples)
        latest = max((one.ts_ns for one in self._newest.values()), default=0)
        oldest = latest - int(STALE * 1e9)
        self._newest = {mid: one for mid, one in self._newest.items() if one.ts_ns >= oldest}
        self._written = self.handle.now()
        self._write(page(self._newest))

    def _write(self, data: bytes) -> None:
        # Not by `files`: that waits for the disk, and this is the loop.
        beside = f"{self._path}.{os.getpid()}"
        try:
            with open(beside, "wb") as file:
                file.write(data)
            os.replace(beside, self._path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(beside)
            raise Down(f"{self._path}: {error.strerror}") from None


def page(newest: Mapping[str, Sample]) -> bytes:
    """Families by name, their series in order."""
    families: dict[str, list[str]] = {}
    headings: dict[str, str] = {}
    written = exposition.Page()
    for one in sorted(newest.values(), key=lambda one: one.series.metric):
        series = one.series
        is_counter = series.kind == COUNTER and series.form == "raw"
        family = exposition.family(series.metric, series.field.unit, is_counter)
        value = (
            one.value if type(one.value) is int and family.divisor == 1 else float(one.value) / family.divisor
        )
        labels = written.own(family.name, _labels(series, family), series.metric)
        families.setdefault(family.name, []).append(f"{family.name}{{{_shown(labels)}}} {value!r}\n")
        heading = exposition.heading(family, series.metric)
        # Of several metrics that are written alike the same one is named, whichever was read first.
        headings[family.name] = min(heading, headings.get(family.name, heading))
    return "".join(
        headings[name] + "".join(sorted(found)) for name, found in sorted(families.items())
    ).encode()


def _labels(series: Series, family: exposition.Family) -> dict[str, str]:
    own = {"subject": series.subject, "measurement": series.measurement, **family.own_labels()}
    if series.form != "raw":
        own["form"] = series.form
    return {_FOREIGN.sub("_", key): value for key, value in {**own, **series.attributes}.items()}


def _shown(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sorted(labels.items()))
