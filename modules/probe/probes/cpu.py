"""Knows the shares of the processors by mode, and the load; from /proc/stat and /proc/loadavg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ..contract import Context, Field, Probe

MODES: Final = (
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"
)  # fmt: skip
_LOADS: Final = ("onemin", "fivemin", "fifteenmin")
_OLD: Final = "ps:tools:blipp:linux:cpu:"
_OLD_NAMES: Final = {"irq": "hwirq", "softirq": "swirq"}
_USER, _NICE, _GUEST, _GUEST_NICE = 0, 1, 8, 9

Times = tuple[int, ...]
NONE: Final[Times] = (0,) * len(MODES)


def parse_stat(data: bytes, per_core: bool = False) -> dict[str, Times]:
    """Ticks by mode of ``cpu``, and of each ``cpuN``; modes an old kernel lacks are 0. Raises ValueError."""
    found: dict[str, Times] = {}
    for line in data.split(b"\n"):
        if not line.startswith(b"cpu"):
            break  # they come first
        name, *numbers = line.split()
        times = tuple(map(int, numbers[: len(MODES)]))
        found[name.decode()] = times + NONE[len(times) :]
        if not per_core:
            break
    if "cpu" not in found:
        raise ValueError("no line cpu in proc/stat")
    return found


def shares(old: Sequence[int], new: Sequence[int]) -> dict[str, float]:
    """The share of each mode in what passed, together 1; 0.0 for all if no time did.

    The kernel counts guests as user time, too: they are taken out of it. Some counters may go back (iowait): by 0.
    """
    moved = [max(0, after - before) for before, after in zip(old, new, strict=True)]
    moved[_USER] = max(0, moved[_USER] - moved[_GUEST])
    moved[_NICE] = max(0, moved[_NICE] - moved[_GUEST_NICE])
    total = sum(moved)
    if not total:
        return dict.fromkeys(MODES, 0.0)
    return {mode: part / total for mode, part in zip(MODES, moved, strict=True)}


def parse_loadavg(data: bytes) -> dict[str, float]:
    """The three loads. Raises ValueError."""
    return dict(zip(_LOADS, map(float, data.split()[:3]), strict=True))


class Cpu(Probe):
    """Shares since the last reading; the first is a baseline, or with ``first: boot`` what was since boot."""

    summary = "shares of the processors by mode, load"
    fields: ClassVar[dict[str, Field]] = {
        mode: Field(
            otel="system.cpu.utilization",
            attributes={"cpu.mode": mode},
            event_type=f"{_OLD}utilization:{_OLD_NAMES.get(mode, mode)}" if mode != "guest_nice" else "",
        )
        for mode in MODES
    } | {
        name: Field(otel=f"system.cpu.load_average.{minutes}m", event_type=f"{_OLD}load:{name}")
        for name, minutes in zip(_LOADS, (1, 5, 15), strict=True)
    }
    options: ClassVar[dict[str, Any]] = {"per_core": False, "first": "baseline"}

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if config.get("first", "baseline") not in ("baseline", "boot"):
            raise ValueError(f"first is baseline or boot, not {config['first']!r:.40}")

    def open(self, context: Context) -> None:
        super().open(context)
        self._old: dict[str, Times] | None = {} if self.config["first"] == "boot" else None

    def read(self) -> Any:
        files, subject = self.context.procfs, self.context.subject
        new = parse_stat(files.read_again("proc/stat"), self.config["per_core"])
        old, self._old = self._old, new
        if old is None:
            return None
        answer: dict[str, dict[str, float]] = {}
        for name, times in new.items():
            # A core that was not there before begins now.
            before = old.get(name, NONE if not old else times)
            if times != before:
                answer[subject if name == "cpu" else f"{subject}/cpu/{name[3:]}"] = shares(before, times)
        if subject in answer:
            answer[subject] |= parse_loadavg(files.read_again("proc/loadavg"))
        return answer
