"""Runs every benchmark, one after the other, and prints one table.

    python benchmarks/run_all.py [--json] [--gate] [--repeats N] [NAME ...]

Exit code 1 if a benchmark ends with an error or, with --gate, misses a ratio to its baseline.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _measure

HERE = Path(__file__).resolve().parent
#: Shortest first, so that what breaks shows early.
BENCHMARKS = (
    "wire", "exchange", "events", "hooks", "statsd_client", "statsd_memory", "ping", "cold", "shell", "module_load",
    "kvs", "ranks", "folder", "cron", "statsd_udp", "report", "jobs", "watchers", "probes", "explore", "statsd_random",
    "explore-clean", "mutants_src",
)  # fmt: skip
#: Those that are a second way to run a file.
WAYS = {
    "explore-clean": ("explore", "--clean"),
    # Of all of them an hour: each day those of another room.
    "mutants_src": ("mutants_src", "--turn", "--count", "40", "--minutes", "5", "--jobs", "2"),
}
#: Those that take their own number of rounds.
ROUNDS_OF_THEIR_OWN = ("statsd_client", "mutants_src")


def run(name: str, extra: list[str]) -> dict[str, Any]:
    """The JSON document of one benchmark, or ``{"error": text}``."""
    stem, *way = WAYS.get(name, (name,))
    file = HERE / f"{stem}.py"
    if not file.is_file():
        return {"error": f"{file} is missing"}
    options = way if name in ROUNDS_OF_THEIR_OWN else [*way, *extra]
    # One that is a part of a package is run as that.
    start = ["-m", f"benchmarks.{stem}"] if name == "mutants_src" else [str(file)]
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *start, "--json", *options],
        cwd=HERE.parent if start[0] == "-m" else None,
        stdout=subprocess.PIPE,
        # A long one says on a terminal how far it is.
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(process.stdout)
    except ValueError:
        lines = (process.stderr or "").strip().splitlines() or ["no output"]
        return {"error": f"ended with code {process.returncode}: {lines[-1]}"}
    found["took_s"] = round(time.perf_counter() - started, 1)
    return found


def rows(name: str, found: dict[str, Any]) -> list[str]:
    """Its part of the table."""
    if "error" in found:
        return [f"{name}: {found['error']}"]
    lines = [f"{name} ({found['took_s']} s)"]
    lines += [_measure.figure_line(figure) for figure in found.get("figures", ())]
    lines += [_measure.gate_line(gate) for gate in found.get("gates", ())]
    if "figures" not in found:
        lines += statsd_rows(found)
    return lines


def statsd_rows(found: dict[str, Any]) -> list[str]:
    """The figures of a statsd benchmark, whose document has a shape of its own."""
    lines = []
    for key, value in found.items():
        if isinstance(value, dict) and key != "targets":
            lines += [f"  {key}: {name:38}{figure}" for name, figure in value.items()]
    return [*lines, f"  missed: {', '.join(found.get('missed', ())) or 'nothing'}"]


def missed(found: dict[str, Any]) -> list[str]:
    """The gates it missed."""
    return [gate["what"] for gate in found.get("gates", ()) if not gate["met"]] + found.get("missed", [])


def heading(documents: dict[str, dict[str, Any]]) -> str:
    metas = [found["meta"] for found in documents.values() if "meta" in found]
    if not metas:
        return "brokersim"
    meta = metas[0]
    libraries = ", ".join(f"{name} {number}" for name, number in meta["libraries"].items() if number)
    return (
        f"brokersim on CPython {meta['python']} ({meta['build']}), engine {meta['engine']}, {meta['cores']} cores,"
        f" {meta['pinned']},"
        f" load {os.getloadavg()[0]:.1f}; {libraries}; median (min .. max)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout, a member a benchmark"
    )
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a ratio to a baseline is missed")
    parser.add_argument(
        "--repeats", type=_measure.positive, help="rounds of each, in place of its own number"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(BENCHMARKS)}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    extra = ["--repeats", str(arguments.repeats)] if arguments.repeats else []
    documents: dict[str, dict[str, Any]] = {}
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        documents[name] = run(name, extra)
    if arguments.json:
        print(json.dumps(documents, indent=2))
    else:
        print(heading(documents))
        for name, found in documents.items():
            print("\n".join(rows(name, found)))
    return verdict(documents, arguments.gate)


def verdict(documents: dict[str, dict[str, Any]], is_gate: bool) -> int:
    """Says on stderr what is wrong; the exit code."""
    broken = [name for name, found in documents.items() if "error" in found]
    misses = [f"{name}: {what}" for name, found in documents.items() for what in missed(found)]
    for text in [
        *(f"error: {name} did not finish" for name in broken),
        *(f"missed: {miss}" for miss in misses),
    ]:
        print(text, file=sys.stderr)
    return int(bool(broken or (is_gate and misses)))


if __name__ == "__main__":
    sys.exit(main())
