"""What a test pays for its instance: fresh ones of one and of four ranks, and whole idle tests under pytest.

In processor time: nothing sleeps here, so on an idle machine that is the time it takes.

    python -m benchmarks.fixtures [--reps N]

The first of each kind also imports the modules' files and is left out. Milliseconds: median, and the best.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from brokersim.reactor.clock import VirtualClock
from brokersim.testing import TestOptions, opened

#: What is promised, in ms (docs/testing.md).
PROMISED = {"fresh instance, 1 rank": 5.0, "fresh instance, 4 ranks": 15.0, "idle test, all in all": 10.0}


def fresh(size: int) -> float:
    """ms to open an instance of the shipped modules, watched, to verify it and to close it."""

    async def main() -> None:
        async with opened(TestOptions(size=size)) as broker:
            await broker.verify()

    start = time.process_time()
    trio.run(main, clock=VirtualClock())
    return (time.process_time() - start) * 1e3


def idle_test(reps: int) -> list[float]:
    """ms a test of pytest takes that asks for a broker and does nothing: set-up, call and teardown."""
    with tempfile.TemporaryDirectory() as name:
        text = f"import pytest\n@pytest.mark.parametrize('n', range({reps}))\nasync def test_idle(broker, n): pass\n"
        Path(name, "test_idle.py").write_text(text)
        Path(name, "conftest.py").write_text(_TIMED)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            name,
            "-c",
            "/dev/null",
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return [float(line) for line in done.stderr.splitlines() if line.replace(".", "").isdecimal()]


_TIMED = """
import sys, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.process_time()
    result = yield
    print((time.process_time() - start) * 1e3, file=sys.stderr)
    return result
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=50, metavar="N", help="[50]")
    reps = parser.parse_args().reps
    measured: dict[str, Callable[[], list[float]]] = {
        "fresh instance, 1 rank": lambda: [fresh(1) for _ in range(reps + 1)],
        "fresh instance, 4 ranks": lambda: [fresh(4) for _ in range(reps + 1)],
        "idle test, all in all": lambda: idle_test(reps + 1),
    }
    print(f"{'':<26}{'median ms':>10}{'best ms':>10}{'promised':>10}")
    for name, measure in measured.items():
        times = measure()[1:]
        print(f"{name:<26}{statistics.median(times):>10.2f}{min(times):>10.2f}{PROMISED[name]:>10.0f}")


if __name__ == "__main__":
    main()
