"""Knows what processes use, from /proc/<pid>; which of them are meant it is told, or finds by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import attrs

from brokersim.brokermod import RequestError

from ..contract import COUNTER, STATE, Context, Field, Probe

#: Clock ticks a second that /proc counts in.
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_IO: Final = {
    b"rchar": "read_chars",
    b"wchar": "write_chars",
    b"read_bytes": "read_bytes",
    b"write_bytes": "write_bytes",
}
_STATUS: Final = {b"voluntary_ctxt_switches": "switches", b"nonvoluntary_ctxt_switches": "preemptions"}
#: How processes are chosen; one of them.
CHOICES: Final = ("self", "pid", "pidfile", "name", "cmdline")


@attrs.frozen
class Stat:
    """What /proc/<pid>/stat says: times in ticks, memory in bytes."""

    comm: str
    state: str
    minor_faults: int
    major_faults: int
    ticks: int
    threads: int
    start: int
    virtual: int
    resident: int


def parse_stat(data: bytes) -> Stat:
    """The name is between the first ``(`` and the last ``)``, and may hold either. Raises ValueError."""
    head, _, rest = data.partition(b"(")
    comm, closed, after = rest.rpartition(b")")
    n = after.split()
    if not head or not closed or len(n) < 22:
        raise ValueError(f"no stat of a process: {data[:60]!r}")
    return Stat(
        comm.decode(errors="replace"), n[0].decode(), int(n[7]), int(n[9]), int(n[11]) + int(n[12]), int(n[17]),
        int(n[19]), int(n[20]), int(n[21]) * PAGE,
    )  # fmt: skip


def parse_pairs(data: bytes, wanted: Mapping[bytes, str]) -> dict[str, int]:
    """Numbers of ``name: number`` lines, under our names."""
    found = {}
    for line in data.split(b"\n"):
        name, _, rest = line.partition(b":")
        if name in wanted:
            found[wanted[name]] = int(rest)
    return found


class _Watched:
    """One process: who it is, and what it had used at the last reading."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.ticks = 0
        self.when: float | None = None


def _counter(unit: str, otel: str) -> Field:
    return Field(unit=unit, kind=COUNTER, otel=otel)


class Process(Probe):
    """Processor time, memory, switches, faults and I/O of the broker and its module processes, or of others.

    ``cpu`` is the share of one core since the last reading and may exceed 1. What may not be read is in ``partial``.
    """

    summary = (
        "cpu, memory, switches, faults, I/O of the broker and its modules, or by pid, pidfile, name, cmdline"
    )
    fields: ClassVar[dict[str, Field]] = {
        "cpu": Field(otel="process.cpu.utilization"),
        "cpu_ticks": _counter("{tick}", "process.cpu.ticks"),
        "run_delay": _counter("ns", "process.run_delay"),
        "resident": Field(unit="By", otel="process.memory.usage"),
        "virtual": Field(unit="By", otel="process.memory.virtual"),
        "threads": Field(unit="{thread}", otel="process.thread.count"),
        "fds": Field(unit="{file}", otel="process.unix.file_descriptor.count"),
        "minor_faults": _counter("{fault}", "process.paging.minor_faults"),
        "major_faults": _counter("{fault}", "process.paging.major_faults"),
        "switches": _counter("{switch}", "process.context_switches"),
        "preemptions": _counter("{switch}", "process.preemptions"),
        "read_bytes": _counter("By", "process.disk.read"),
        "write_bytes": _counter("By", "process.disk.write"),
        "read_chars": _counter("By", "process.io.read"),
        "write_chars": _counter("By", "process.io.write"),
        "state": Field(unit="", kind=STATE, otel="process.state"),
        "uncounted": Field(unit="{process}", otel="process.uncounted"),
    }
    options: ClassVar[dict[str, Any]] = {
        "self": True, "pid": 0, "pidfile": "", "name": "", "cmdline": "", "max_processes": 64
    }  # fmt: skip

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        is_named = any(config.get(key) for key in CHOICES[1:])
        return "" if is_named else "the broker and its modules are asked for by messages; name what is meant"

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        given = [key for key in CHOICES[1:] if config.get(key)]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(CHOICES)}, not {' and '.join(given)}")
        for key in ("name", "cmdline"):
            try:
                re.compile(config.get(key) or "")
            except re.error as error:
                raise ValueError(f"{key} {config[key]!r:.60} is no regular expression: {error}") from None

    def open(self, context: Context) -> None:
        super().open(context)
        self._watched: dict[int, _Watched] = {}
        self._subjects: dict[int, str] = {}
        pattern = self.config["name"] or self.config["cmdline"]
        self._pattern = re.compile(pattern) if pattern else None

    async def read(self) -> Any:
        """Look for who is meant, then read them in one go."""
        wanted, uncounted = await self._choose()
        now = self.context.ask.now()
        answer: dict[str, Any] = {}
        for pid in [*self._watched, *(one for one in wanted if one not in self._watched)]:
            subject = wanted.get(pid) or self._subjects[pid]
            used = self._one(pid, now) if pid in wanted else None
            if used is None:
                if self._watched.pop(pid, None) is not None:
                    answer[subject] = {"state": "gone"}
            else:
                answer[subject] = used
        self._subjects = wanted
        if uncounted:
            answer[self.context.subject] = {"uncounted": uncounted}
        return answer

    async def _choose(self) -> tuple[dict[int, str], int]:
        """Who is meant, pid to subject; and how many more there are."""
        if self._pattern is not None:
            found = self._matching(self._pattern)
        elif self.config["pidfile"]:
            with open(self.config["pidfile"], "rb") as file:  # not below /proc: a path of the configuration
                found = {int(file.read(32).split()[0]): ""}
        elif self.config["pid"]:
            found = {self.config["pid"]: ""}
        else:
            return await self._own(), 0
        most = self.config["max_processes"]
        named = {pid: f"{self.context.subject}/process/{pid}" for pid in sorted(found)[:most]}
        return named, max(0, len(found) - most)

    async def _own(self) -> dict[int, str]:
        """The broker, and those of its modules that have a process of their own."""
        own = {os.getpid(): self.context.subject}
        try:
            answer = await self.context.ask.call("module.list", {}, self.context.ask.rank)
        except RequestError:
            return own
        for mod in answer["mods"]:
            if mod.get("pid"):
                own[mod["pid"]] = f"{self.context.subject}/module/{mod['name']}"
        return own

    def _matching(self, pattern: re.Pattern[str]) -> dict[int, str]:
        files = self.context.procfs
        which = "comm" if self.config["name"] else "cmdline"
        found = {}
        for name in files.names("proc"):
            if name.isdecimal():
                try:
                    text = (
                        files.read(f"proc/{name}/{which}")
                        .replace(b"\0", b" ")
                        .decode(errors="replace")
                        .strip()
                    )
                except OSError:
                    continue  # it ended meanwhile
                if pattern.search(text):
                    found[int(name)] = text
        return found

    def _one(self, pid: int, now: float) -> dict[str, Any] | None:
        """What it has used; None if it is gone, or its number belongs to another now."""
        files = self.context.procfs
        try:
            stat = parse_stat(files.read(f"proc/{pid}/stat"))
        except (FileNotFoundError, ProcessLookupError):
            return None
        watched = self._watched.setdefault(pid, _Watched(stat.start))
        if watched.start != stat.start:
            return None
        used: dict[str, Any] = {
            "cpu_ticks": stat.ticks, "resident": stat.resident, "virtual": stat.virtual, "threads": stat.threads,
            "minor_faults": stat.minor_faults, "major_faults": stat.major_faults, "state": stat.state,
            "identity": f"{pid}@{stat.start}",
        }  # fmt: skip
        if watched.when is not None and now > watched.when:
            used["cpu"] = (stat.ticks - watched.ticks) / (TICKS * (now - watched.when))
        watched.ticks, watched.when = stat.ticks, now
        partial: list[str] = []
        for names, read in self._more(pid):
            try:
                used |= read()
            except (OSError, ValueError, IndexError):
                partial += names
        return used | {"partial": partial}

    def _more(self, pid: int) -> list[tuple[tuple[str, ...], Callable[[], dict[str, int]]]]:
        """Files that may not be ours to read, each with what is missing without it."""
        files, at = self.context.procfs, f"proc/{pid}"
        return [
            (tuple(_STATUS.values()), lambda: parse_pairs(files.read(f"{at}/status"), _STATUS)),
            (tuple(_IO.values()), lambda: parse_pairs(files.read(f"{at}/io"), _IO)),
            (("fds",), lambda: {"fds": len(files.names(f"{at}/fd"))}),
            (("run_delay",), lambda: {"run_delay": int(files.read(f"{at}/schedstat").split()[1])}),
        ]
