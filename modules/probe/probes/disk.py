"""Knows what block devices did, from /proc/diskstats in any of its four lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ..contract import COUNTER, Context, Field, Probe
from ..counter import step

SECTOR: Final = 512
#: Bits of the millisecond fields, on 64-bit kernels, too.
MS_WIDTH: Final = 32
_FULL: Final = (
    "reads", "reads_merged", "sectors_read", "read_ms", "writes", "writes_merged", "sectors_written", "write_ms",
    "in_progress", "io_ms", "weighted_ms",
    "discards", "discards_merged", "sectors_discarded", "discard_ms",
    "flushes", "flush_ms",
)  # fmt: skip
#: What the columns behind major, minor and name are, by how many there are: partitions of 2.6, all of 2.6.25,
#: discards since 4.18, flushes since 5.5.
_PARTITION: Final = ("reads", "sectors_read", "writes", "sectors_written")
_SHORT, _OLD_FULL, _DISCARDS = 4, 11, 15
_MILLISECONDS: Final = ("read_ms", "write_ms", "io_ms", "weighted_ms", "discard_ms", "flush_ms")
_SKIPPED: Final = ("loop", "ram")
#: Milliseconds a second, at most: the device is busy all of it, twice that for jiffies and for when it was read; each
#: of the requests in flight waits all of it, and no device has more than ten thousand.
_BUSY_MAX: Final = 2_000.0
_WAITED_MAX: Final = 10_000_000.0


def _max_rate(name: str) -> float:
    return _BUSY_MAX if name == "io_ms" else _WAITED_MAX if name in _MILLISECONDS else math.inf


def parse_diskstats(data: bytes, is_wanted: Callable[[str], bool] | None = None) -> dict[str, dict[str, Any]]:
    """By device its columns, and ``identity``, its numbers. A line of no known length is left out."""
    found: dict[str, dict[str, Any]] = {}
    for line in data.split(b"\n"):
        head = line.split(None, 3)
        if len(head) < 4:
            continue
        name = head[2].decode(errors="replace")
        if is_wanted is not None and not is_wanted(name):
            continue  # before its numbers are read: a machine may have hundreds of loop devices
        numbers = head[3].split()
        columns = _columns(len(numbers))
        if columns:
            values: dict[str, Any] = dict(zip(columns, map(int, numbers), strict=False))
            values["identity"] = f"{head[0].decode()}:{head[1].decode()}"
            found[name] = values
    return found


def _columns(count: int) -> tuple[str, ...]:
    if count >= len(_FULL):
        return _FULL  # more are for kernels to come
    if count in (_SHORT, _OLD_FULL, _DISCARDS):
        return _PARTITION if count == _SHORT else _FULL[:count]
    return ()


def derived(old: dict[str, Any], new: dict[str, Any], elapsed: float) -> dict[str, float | None]:
    """Between two readings ``elapsed`` s apart: ``util`` 0 to 1, ``queue``, and ``await`` in s, None without I/O."""
    if "io_ms" not in old or "io_ms" not in new or elapsed <= 0 or old["identity"] != new["identity"]:
        return {}
    ms = elapsed * 1000

    def moved(name: str) -> float | None:
        grew: float = new[name] - old[name]
        if grew >= 0:  # nearly always: the rest is what `step` is for
            return grew
        width = MS_WIDTH if name in _MILLISECONDS else 64
        return step(old[name], new[name], width=width, most=_max_rate(name) * elapsed).delta

    def mean(spent: str, done: str) -> float | None:
        time, count = moved(spent), moved(done)
        return time / count / 1000 if time is not None and count else None

    busy, weighted = moved("io_ms"), moved("weighted_ms")
    return {
        "util": None if busy is None else min(1.0, busy / ms),
        "queue": None if weighted is None else weighted / ms,
        "await_read": mean("read_ms", "reads"),
        "await_write": mean("write_ms", "writes"),
    }


def _field(name: str) -> Field:
    if name == "in_progress":
        return Field(unit="{operation}", otel="disk.in_progress")
    is_time = name in _MILLISECONDS
    unit = "ms" if is_time else "{sector}" if name.startswith("sectors") else "{operation}"
    width = MS_WIDTH if is_time else 64
    return Field(unit=unit, kind=COUNTER, width=width, max_rate=_max_rate(name), otel=f"disk.{name}")


class Disk(Probe):
    """Counters of each device as subject ``node/<rank>/disk/<name>``, and shares of the time between readings."""

    summary = "reads, writes, time, queue by block device"
    fields: ClassVar[dict[str, Field]] = {name: _field(name) for name in _FULL} | {
        "util": Field(otel="disk.utilization"),
        "queue": Field(otel="disk.queue"),
        "await_read": Field(unit="s", otel="disk.await", attributes={"disk.io.direction": "read"}),
        "await_write": Field(unit="s", otel="disk.await", attributes={"disk.io.direction": "write"}),
    }
    options: ClassVar[dict[str, Any]] = {"devices": []}

    def open(self, context: Context) -> None:
        super().open(context)
        self._old: dict[str, dict[str, Any]] = {}
        self._when = 0.0

    def read(self) -> Any:
        now = self.context.ask.now()
        found = parse_diskstats(self.context.procfs.read_again("proc/diskstats"), self._is_wanted)
        old, elapsed = self._old, now - self._when
        self._old, self._when = found, now
        return {
            f"{self.context.subject}/disk/{name}": columns | derived(old[name], columns, elapsed)
            if name in old
            else columns
            for name, columns in found.items()
        }

    def _is_wanted(self, name: str) -> bool:
        wanted = self.config["devices"]
        return name in wanted if wanted else not name.startswith(_SKIPPED)
