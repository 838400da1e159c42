"""What it takes to load a small module file into a running instance, and to take it out again.

    python benchmarks/module_load.py [--json] [--gate] [--loads N]

Over the socket: `module.load` with the path of a Python file, answered when the module is running, as `brokersim
module load` does it; pinned, wall time. Each load is of a file of its own, which nobody has compiled before. Beside it
the same in process (CPU time), the file merely compiled and executed, and b4, a blocking echo between two Python
processes on the same CPU.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _baselines
import _measure
import _server

import brokersim
from brokersim.net.client import Client

MODULE = Path(__file__).resolve().parent / "modules" / "counted.py"
NAME = "counted"
#: Milliseconds, as promised.
TARGET = 50.0


def median_ms(work: Callable[[], float], count: int) -> float:
    return statistics.median(work() for _ in range(count)) * 1e3


class Files:
    """New copies of the module's file, each a little different."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._source = MODULE.read_text()
        self._made = 0

    def fresh(self) -> Path:
        self._made += 1
        path = self._folder / f"{NAME}{self._made}.py"
        path.write_text(f"{self._source}\n# {self._made}\n")
        return path


def over_the_socket(client: Client, files: Files) -> float:
    """Seconds of one load; the module is removed afterwards."""
    path = str(files.fresh())
    started = time.perf_counter()
    client.rpc("module.load", {"path": path, "args": [], "exec": False, "name": NAME})
    taken = time.perf_counter() - started
    client.rpc("module.remove", {"name": NAME})
    return taken


async def in_process(loads: int, files: Files) -> float:
    """CPU ms of one load, the median of several."""
    async with brokersim.open_instance(modules=[]) as instance:
        taken = []
        for _ in range(loads):
            path = str(files.fresh())
            started = time.process_time()
            await instance.load(path, name=NAME)
            taken.append(time.process_time() - started)
            await instance.remove(NAME)
        return statistics.median(taken) * 1e3


def plain() -> float:
    """Seconds to compile the file and run it."""
    started = time.perf_counter()
    space: dict[str, Any] = {"__name__": NAME}
    exec(compile(MODULE.read_text(), str(MODULE), "exec"), space)
    assert "Counted" in space
    return time.perf_counter() - started


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--loads", type=_measure.positive, default=20, help="loads a row and round")
    arguments = parser.parse_args()
    count = arguments.loads
    report = _measure.begin("module_load", arguments, loads=count, file_bytes=MODULE.stat().st_size)
    with (
        tempfile.TemporaryDirectory() as folder,
        _server.instance() as uri,
        _baselines.echo(100) as echo,
        Client.connect(uri, timeout=60) as client,
    ):
        files = Files(folder)
        taken = _measure.rounds(
            {
                "module.load over the socket": lambda: median_ms(
                    lambda: over_the_socket(client, files), count
                ),
                "in process, CPU": lambda: brokersim.run(in_process, count, files),
                "the file compiled and executed": lambda: median_ms(plain, count),
                "b4": lambda: statistics.median(echo(1000)) * 1e3,
            },
            arguments.repeats,
        )
    report.figures = [
        _measure.Figure(
            name=name, unit="ms", values=values, target=TARGET if name.startswith("module.load") else None
        )
        for name, values in taken.items()
    ]
    report.keys = dict(
        zip(
            ("load_ms", "load_cpu_ms", "plain_ms", "b4_ms"),
            (figure.median for figure in report.figures),
            strict=True,
        )
    )
    # b4 is 4.8 µs on the reference machine, where 50 ms are 10,400 of it.
    ratio = _measure.ratio(taken["module.load over the socket"], taken["b4"])
    report.gates = [_measure.Gate(what="module.load / b4", ratio=ratio, limit=10_400)]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
