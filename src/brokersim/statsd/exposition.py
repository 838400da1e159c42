"""Knows what a measured series is called on a page for Prometheus; not where its numbers come from, nor who scrapes.

Source: Prometheus' rules for names, which ``promtool check metrics`` holds a page to: a help text, ``_total`` behind
counters and nothing else, seconds and not milliseconds.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
#: What the names of counters, and of samples of histograms and summaries end in, and no gauge's.
_OF_OTHERS: Final = re.compile(r"(?:_(?:total|count|sum|bucket))+$")
_MS: Final = "_ms"


class Family(NamedTuple):
    """Name and type of what a sample belongs to, the unit it is told in, and what its value is divided by for that.

    ``of`` is the ending a gauge may not have: a label then, or ``a`` and ``a_count`` of one source would be one series.
    """

    name: str
    kind: str
    unit: str
    divisor: int
    of: str = ""

    def own_labels(self) -> dict[str, str]:
        """What its name does not tell."""
        told = {"unit": self.unit if self.unit != "1" else "", "of": self.of}
        return {key: value for key, value in told.items() if value}


def family(metric: str, unit: str, is_counter: bool) -> Family:
    """``disk.read_ms`` in ``ms`` that is counted is ``probe_disk_read_seconds_total``, its value divided by 1,000."""
    name, divisor = f"probe_{_FOREIGN.sub('_', metric)}", 1
    if unit == "ms" and name.endswith(_MS):
        name, unit, divisor = f"{name.removesuffix(_MS)}_seconds", "s", 1000
    if is_counter:
        return Family(f"{name.removesuffix('_total')}_total", "counter", unit, divisor)
    ending = _OF_OTHERS.search(name)
    of = "" if ending is None else ending[0].removeprefix("_")
    return Family(_OF_OTHERS.sub("", name), "gauge", unit, divisor, of)


class Page:
    """What is written on a page: each series by name and labels of its own. They come in the order of their metrics.

    ``a.b`` and ``a_b`` of one source are written alike: the later has a label ``metric``, with what it is called.
    """

    def __init__(self) -> None:
        self._taken: set[tuple[str, tuple[tuple[str, str], ...]]] = set()

    def own(self, family: str, labels: dict[str, str], metric: str) -> dict[str, str]:
        """The labels, with one more if another metric's series has just these."""
        found = labels if self._take(family, labels) else {**labels, "metric": metric}
        self._take(family, found)
        return found

    def _take(self, family: str, labels: dict[str, str]) -> bool:
        key = (family, tuple(sorted(labels.items())))
        is_free = key not in self._taken
        self._taken.add(key)
        return is_free


def heading(one: Family, metric: str) -> str:
    """The two lines above a family's samples; ``metric`` is what it was called before."""
    what = "counted by its source" if one.kind == "counter" else "as it was read last"
    return f"# HELP {one.name} {metric.translate(_ESCAPES)}, {what}\n# TYPE {one.name} {one.kind}\n"
