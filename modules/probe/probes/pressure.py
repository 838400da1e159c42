"""Knows how long work stood still for want of processor, memory or I/O; from /proc/pressure and cgroup v2."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from ..contract import COUNTER, Context, Field, Probe

RESOURCES: Final = ("cpu", "memory", "io")
_CGROUP: Final = {
    "cpu.stat": {b"usage_usec": "cgroup_cpu", b"throttled_usec": "throttled", b"nr_throttled": "throttles"},
    "memory.events": {b"oom_kill": "oom_kills", b"high": "memory_high"},
}


def parse_pressure(data: bytes) -> dict[str, int]:
    """The totals in µs of ``some`` (one waits) and ``full`` (all do). Raises ValueError."""
    found = {}
    for line in data.split(b"\n"):
        kind, _, rest = line.partition(b" ")
        if kind in (b"some", b"full"):
            found[kind.decode()] = int(rest.rpartition(b"total=")[2])
    return found


class Pressure(Probe):
    """Counters in µs a resource; of the cgroup, time throttled and kills for memory; of a process, its run delay."""

    summary = "time lost to want of cpu, memory, I/O; throttling, oom kills"
    fields: ClassVar[dict[str, Field]] = {
        f"{resource}_{kind}": Field(
            unit="us", kind=COUNTER, otel="system.pressure", attributes={"resource": resource, "kind": kind}
        )
        for resource in RESOURCES
        for kind in ("some", "full")
    } | {
        "cgroup_cpu": Field(unit="us", kind=COUNTER, otel="cgroup.cpu.time"),
        "throttled": Field(unit="us", kind=COUNTER, otel="cgroup.cpu.throttled"),
        "throttles": Field(unit="{time}", kind=COUNTER, otel="cgroup.cpu.throttles"),
        "oom_kills": Field(unit="{kill}", kind=COUNTER, otel="cgroup.memory.oom_kills"),
        "memory_high": Field(unit="{time}", kind=COUNTER, otel="cgroup.memory.high"),
        "cgroup_memory": Field(unit="By", otel="cgroup.memory.usage"),
        "run_delay": Field(unit="ns", kind=COUNTER, otel="process.run_delay"),
        "switches": Field(unit="{switch}", kind=COUNTER, otel="process.timeslices"),
    }
    options: ClassVar[dict[str, Any]] = {"cgroup": "", "pid": 0}

    def open(self, context: Context) -> None:
        super().open(context)
        # A kernel without PSI answers ENOENT, or EOPNOTSUPP once the file is read.
        try:
            context.procfs.read("proc/pressure/cpu")
        except OSError as error:
            if not self.config["cgroup"] and not self.config["pid"]:
                raise ValueError(
                    f"this kernel has no /proc/pressure ({error.strerror}); needs psi=1"
                ) from None

    def read(self) -> Any:
        files = self.context.procfs
        answer: dict[str, Any] = {}
        partial: list[str] = []
        for resource in RESOURCES:
            try:
                found = parse_pressure(files.read_again(f"proc/pressure/{resource}"))
            except OSError:
                partial.append(resource)
            else:
                answer |= {f"{resource}_{kind}": total for kind, total in found.items()}
        if self.config["cgroup"]:
            answer |= self._cgroup(partial)
        if self.config["pid"]:
            numbers = files.read(f"proc/{self.config['pid']}/schedstat").split()
            answer |= {"run_delay": int(numbers[1]), "switches": int(numbers[2])}
        return answer | {"partial": partial}

    def _cgroup(self, partial: list[str]) -> dict[str, int]:
        files, at = self.context.procfs, f"sys/fs/cgroup/{self.config['cgroup'].strip('/')}"
        found: dict[str, int] = {}
        for name, wanted in _CGROUP.items():
            try:
                lines = [line.split() for line in files.read(f"{at}/{name}").split(b"\n") if line]
            except OSError:
                partial += wanted.values()
                continue
            found |= {wanted[key]: int(number) for key, number in lines if key in wanted}
        try:
            found["cgroup_memory"] = int(files.read(f"{at}/memory.current"))
        except OSError:
            partial.append("cgroup_memory")
        return found
