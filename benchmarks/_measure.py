"""Knows how a figure is taken and shown: pinned, interleaved with its baseline, median of rounds, one JSON shape.

It doesn't know what is measured. The rules are those of docs/reactor.md, "How to measure".
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

#: Libraries whose versions move the figures.
_LIBRARIES = ("trio", "msgspec", "orjson", "attrs")


@attrs.frozen(kw_only=True)
class Figure:
    """One measured quantity: a value a round. ``target`` is what it should reach, in the same unit."""

    name: str
    unit: str
    values: tuple[float, ...] = attrs.field(converter=tuple)
    target: float | None = None
    #: Is more better? Then the target is a floor.
    is_rate: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def to_dict(self) -> dict[str, Any]:
        """For the JSON document and the table of all benchmarks."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": _short(self.median),
            "min": _short(min(self.values)),
            "max": _short(max(self.values)),
            "target": self.target,
            "is_rate": self.is_rate,
        }


@attrs.frozen(kw_only=True)
class Gate:
    """A ratio to a baseline of the same run, which fails a build when it is missed; seconds never do."""

    what: str
    ratio: float
    limit: float
    #: Must the ratio reach the limit, rather than stay below it?
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "ratio": _short(self.ratio),
            "limit": self.limit,
            "at_least": self.at_least,
            "met": self.is_met,
        }


@attrs.define(eq=False)
class Report:
    """What one benchmark found. ``keys`` are the headline numbers, at the top of the JSON document."""

    benchmark: str
    meta: dict[str, Any] = attrs.field(factory=dict)
    keys: dict[str, Any] = attrs.field(factory=dict)
    figures: list[Figure] = attrs.field(factory=list)
    gates: list[Gate] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            **{key: _short(value) if isinstance(value, float) else value for key, value in self.keys.items()},
            "meta": self.meta,
            "figures": [figure.to_dict() for figure in self.figures],
            "gates": [gate.to_dict() for gate in self.gates],
            "notes": self.notes,
        }

    def finish(self, arguments: argparse.Namespace) -> int:
        """Print, and return the exit code: 1 if ``--gate`` was given and a gate is missed."""
        if arguments.json:
            print(json.dumps(self.to_dict(), indent=2))
        else:
            print(self.to_text())
        return int(arguments.gate and not all(gate.is_met for gate in self.gates))

    def to_text(self) -> str:
        meta = self.meta
        lines = [
            f"{self.benchmark}: brokersim on CPython {meta['python']} ({meta['build']}), engine {meta['engine']},"
            f" {meta['cores']} cores, {meta['pinned']}; median of {meta['repeats']} (min .. max)"
        ]
        lines += [figure_line(figure.to_dict()) for figure in self.figures]
        lines += [gate_line(gate.to_dict()) for gate in self.gates]
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def figure_line(figure: Mapping[str, Any]) -> str:
    """A figure for people."""
    spread = f"({figure['min']:,} .. {figure['max']:,})"
    target = ""
    if figure["target"] is not None:
        target = f"  target {'>=' if figure['is_rate'] else '<='} {figure['target']:,}"
    return f"  {figure['name']:46}{figure['median']:>12,} {figure['unit']:12}{spread:28}{target}"


def gate_line(gate: Mapping[str, Any]) -> str:
    """A gate for people."""
    limit = f"{'>=' if gate['at_least'] else '<='} {gate['limit']:,}"
    return f"  gate: {gate['what']}: {gate['ratio']:,} {limit} {'ok' if gate['met'] else 'MISSED'}"


def _short(value: float) -> float:
    """Four figures say all that a shared machine can tell."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def parser(doc: str | None, repeats: int = 5) -> argparse.ArgumentParser:
    """The options all benchmarks have."""
    made = argparse.ArgumentParser(
        description=(doc or "").split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="one JSON document on stdout")
    made.add_argument("--gate", action="store_true", help="exit with 1 if a ratio to a baseline is missed")
    made.add_argument("--repeats", type=positive, default=repeats, help="rounds, after one to warm up")
    return made


def positive(text: str) -> int:
    """An argument that counts something. Raises argparse's error that says so."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def engine() -> str:
    """What runs the loop. Whoever wants another says so before brokersim is imported: not by importing this file."""
    from brokersim.native.engine import engine

    return engine()


def with_engine(compiled: float, python: float) -> float:
    """The limit of a gate: one with the compiled engine, another where Python does the work."""
    return compiled if engine() == "compiled" else python


def pin() -> int | None:
    """Put this process, and those it starts, on one CPU: its last. ``None`` where that cannot be done.

    A wake-up across virtual CPUs costs about 25 µs each way and hides everything else.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


@contextmanager
def unpinned() -> Iterator[None]:
    """On all CPUs again while inside, for what would otherwise share its only one with a loop that spins."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


#: What tells a Python to compile each file anew at each start: half of what a short command takes then.
NEVER_COMPILED = "PYTHONDONTWRITEBYTECODE"


def begin(benchmark: str, arguments: argparse.Namespace, **sizes: Any) -> Report:
    """Pin, have processes started as a user's shell starts them, and say what the figures depend on."""
    cpu = pin()
    os.environ.pop(NEVER_COMPILED, None)
    config = sysconfig.get_config_var("CONFIG_ARGS") or ""
    meta = {
        "python": platform.python_version(),
        "engine": engine(),
        "build": "PGO" if "--enable-optimizations" in config else "no PGO",
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "cores": os.cpu_count(),
        "pinned": "free" if cpu is None else f"pinned to CPU {cpu}",
        "load": round(os.getloadavg()[0], 2),
        "repeats": arguments.repeats,
        **sizes,
    }
    return Report(benchmark, meta)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def rounds(parts: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Every part once a round, one after the other, so that a slow minute hits them all; the first round is dropped."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(repeats + 1):
        for name, part in parts.items():
            value = part()
            if number:
                taken[name].append(value)
    return taken


def cpu_ns(work: Callable[[int], object], count: int) -> float:
    """CPU nanoseconds of this process per item of ``work(count)``: what a busy machine disturbs least."""
    started = time.process_time_ns()
    work(count)
    return (time.process_time_ns() - started) / count


def differences(values: Iterable[float], baseline: Iterable[float]) -> list[float]:
    """Round by round, what was added to the baseline."""
    return [one - other for one, other in zip(values, baseline, strict=True)]


def ratio(values: Iterable[float], baseline: Iterable[float]) -> float:
    """Median of the ratios round by round, which a slow minute does not move."""
    return statistics.median(one / other for one, other in zip(values, baseline, strict=True))
