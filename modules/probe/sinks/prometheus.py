"""Knows the page that Prometheus reads: the newest number of each series, in a file that is always whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

from brokersim.brokermod import Handle, files

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

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        if not config["path"]:
            raise ValueError("prometheus needs a path, such as /var/lib/node_exporter/probe-{rank}.prom")
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
        beside = (
            f"{self._path}.{os.getpid()}"  # not by `files`: that waits for the disk, and this is the loop
        )
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
    families: dict[tuple[str, str], list[str]] = {}
    for one in newest.values():
        kind = "counter" if one.series.kind == COUNTER and one.series.form == "raw" else "gauge"
        family = families.setdefault((_name(one.series, kind), kind), [])
        value = one.value if type(one.value) is int else repr(float(one.value))
        family.append(f"{_name(one.series, kind)}{{{_labels(one.series)}}} {value}\n")
    lines = (
        f"# TYPE {name} {kind}\n{''.join(sorted(found))}" for (name, kind), found in sorted(families.items())
    )
    return "".join(lines).encode()


def _name(series: Series, kind: str) -> str:
    """A counter's ends in ``_total``, so no gauge and counter of one metric are one family."""
    name = f"probe_{_FOREIGN.sub('_', series.metric)}"
    return f"{name}_total" if kind == "counter" else name


def _labels(series: Series) -> str:
    own = {"subject": series.subject, "measurement": series.measurement}
    if series.field.unit != "1":
        own["unit"] = series.field.unit
    if series.form != "raw":
        own["form"] = series.form
    labels = {_FOREIGN.sub("_", key): value for key, value in {**own, **series.attributes}.items()}
    return ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sorted(labels.items()))
