"""Knows the memory of the machine, from /proc/meminfo."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from ..contract import Field, Probe

_NAMES: Final = {
    b"MemTotal": "total",
    b"MemFree": "free",
    b"Buffers": "buffer",
    b"Cached": "cache",
    b"Slab": "kernel",
    b"MemAvailable": "available",
}
_OLD: Final = "ps:tools:blipp:linux:memory:utilization:"
_METRICS: Final = ("free", "buffer", "cache", "kernel", "available", "used", "used_with_cache")
#: Those that had an event type of old; ``used`` was what is ``used_with_cache`` here.
_OLD_NAMES: Final = {
    "free": "free", "buffer": "buffer", "cache": "cache", "kernel": "kernel", "used_with_cache": "used"
}  # fmt: skip


def parse_meminfo(data: bytes) -> dict[str, int]:
    """Bytes by name, and what is used: ``used`` without what could be freed at once. Raises ValueError."""
    found: dict[str, int] = {}
    for line in data.split(b"\n"):
        name, _, rest = line.partition(b":")
        wanted = _NAMES.get(name)
        if wanted is not None:
            found[wanted] = int(rest.split()[0]) * 1024
            if len(found) == len(_NAMES):
                break
    if "total" not in found or "free" not in found:
        raise ValueError("no MemTotal or MemFree in proc/meminfo")
    total = found.pop("total")
    if "available" in found:  # since Linux 3.14
        found["used"] = total - found["available"]
    found["used_with_cache"] = total - found["free"]
    return found


class Mem(Probe):
    """Bytes of memory by what they are used for."""

    summary = "memory: free, buffer, cache, kernel, available, used"
    fields: ClassVar[dict[str, Field]] = {
        name: Field(
            unit="By",
            otel="system.memory.usage",
            attributes={"system.memory.state": name},
            event_type=_OLD + _OLD_NAMES[name] if name in _OLD_NAMES else "",
        )
        for name in _METRICS
    }

    def read(self) -> Any:
        answer: dict[str, Any] = dict(parse_meminfo(self.context.procfs.read_again("proc/meminfo")))
        if "available" not in answer:
            answer["partial"] = ("available", "used")
        return answer
