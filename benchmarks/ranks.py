"""What many ranks cost: N ranks of eight modules in one process, virtual clock, nothing but the heartbeat.

    python benchmarks/ranks.py [--json] [--gate] [--ranks N] [--seconds S]

Each case runs in a process of its own. "lean": a module that only hears `heartbeat.pulse`, eight times on every rank.
"kvs": the shipped kvs and content-cache on every rank, the other shipped modules on rank 0. Memory is what the process
grew by per rank, from before the instance to after the run; b1 is two actors on a deque, per message.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import _baselines
import _measure

import brokersim
from brokersim.instance import Instance
from brokersim.services.composition import DEFAULT_MODULES

LISTENER = Path(__file__).resolve().parent / "modules" / "listener.py"
LISTENERS = 8
FEW = 16
NAMES = [f"listener{number}" for number in range(LISTENERS)]
HEARTBEAT = 2.0
PAGE = os.sysconf("SC_PAGE_SIZE")
#: What a case loads at boot; the listeners come behind it.
CASES: dict[str, tuple[str, ...]] = {"lean": ("heartbeat",), "kvs": DEFAULT_MODULES}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def load_listeners(instance: Instance) -> None:
    for rank in range(instance.size):
        for number in range(LISTENERS):
            await instance.load(str(LISTENER), rank=rank, name=NAMES[number])


async def measure(case: str, ranks: int, seconds: float) -> dict[str, float]:
    async with brokersim.open_instance(modules=CASES[case]) as small:
        await small.sleep(HEARTBEAT)  # imports and tables that every instance needs, however small
    before = resident()
    marks = [time.perf_counter()]
    cpus = [time.process_time()]
    async with brokersim.open_instance(size=ranks, modules=CASES[case]) as instance:
        if case == "lean":
            await load_listeners(instance)
        marks.append(time.perf_counter())
        cpus.append(time.process_time())
        await instance.sleep(2 * HEARTBEAT)
        messages = instance.messages()
        started, cpu = time.perf_counter(), time.process_time()
        await instance.sleep(seconds)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        messages = instance.messages() - messages
        grown = resident() - before
        marks.append(time.perf_counter())
        cpus.append(time.process_time())
    boot, shutdown = cpus[1] - cpus[0], time.process_time() - cpus[2]
    return {
        "boot_s": marks[1] - marks[0],
        "shutdown_s": time.perf_counter() - marks[2],
        "shutdown_to_boot": shutdown / boot,
        "sim_s_per_wall_s": seconds / wall,
        "sim_s_per_cpu_s": seconds / cpu,
        "messages": messages,
        "ns_per_message": cpu / messages * 1e9,
        "b1_ns": _measure.cpu_ns(_baselines.deque_loop, 200_000),
        "bytes_per_rank": grown / ranks,
    }


def in_process_of_its_own(case: str, ranks: int, seconds: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--case", case]
    command += ["--ranks", str(ranks), "--seconds", str(seconds)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    return found


def figures(case: str, runs: list[dict[str, float]]) -> list[_measure.Figure]:
    def figure(key: str, unit: str, target: float | None = None, is_rate: bool = False) -> _measure.Figure:
        values = [run[key] / (1000 if unit == "kB/rank" else 1) for run in runs]
        name = f"{case}: {key.replace('_', ' ')}"
        return _measure.Figure(name=name, unit=unit, values=values, target=target, is_rate=is_rate)

    return [
        figure("sim_s_per_wall_s", "s/s", 500 if case == "lean" else None, True),
        figure("sim_s_per_cpu_s", "s/s", 500 if case == "lean" else None, True),
        figure("ns_per_message", "ns"),
        figure("bytes_per_rank", "kB/rank", 20),
        figure("boot_s", "s"),
        figure("shutdown_s", "s"),
        figure("shutdown_to_boot", "×", 1.0 if case == "lean" else None),
    ]


def _of(report: _measure.Report, name: str) -> float:
    return next(figure.median for figure in report.figures if figure.name == name)


def main() -> int:
    parser = _measure.parser(__doc__, repeats=3)
    parser.add_argument("--ranks", type=_measure.positive, default=1024, help="ranks of the instance")
    parser.add_argument(
        "--seconds", type=_measure.positive, default=200, help="simulated seconds that are timed"
    )
    parser.add_argument("--case", choices=CASES, help="run this one here and print its raw numbers")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(brokersim.run(measure, arguments.case, arguments.ranks, arguments.seconds)))
        return 0
    report = _measure.begin(
        "ranks", arguments, ranks=arguments.ranks, modules_per_rank=LISTENERS, simulated_s=arguments.seconds
    )
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    few: list[dict[str, float]] = []
    for _ in range(arguments.repeats):
        for case in CASES:
            runs[case].append(in_process_of_its_own(case, arguments.ranks, arguments.seconds))
        # As many messages with a sixteenth of the ranks.
        few.append(in_process_of_its_own("lean", max(1, arguments.ranks // FEW), arguments.seconds * FEW))
    for case in CASES:
        report.figures += figures(case, runs[case])
    lean = runs["lean"]
    growth = _measure.ratio(*([run["ns_per_message"] / run["b1_ns"] for run in some] for some in (lean, few)))
    report.keys = {
        "sim_s_per_wall_s": report.figures[0].median,
        "kb_per_rank": report.figures[3].median,
        "ns_per_message": report.figures[2].median,
        "kvs_kb_per_rank": _of(report, "kvs: bytes per rank"),
        "growth": growth,
        "shutdown_to_boot": _of(report, "lean: shutdown to boot"),
    }
    to_b1 = _measure.ratio([run["ns_per_message"] for run in lean], [run["b1_ns"] for run in lean])
    report.gates = [
        # 500 simulated seconds a second are 250 beats of 8,192 deliveries: 488 ns each, b1 being 97 there.
        _measure.Gate(what="lean: a delivered heartbeat / b1", ratio=to_b1, limit=5.0),
        _measure.Gate(what="lean: a message at N ranks / at N/16, each by b1", ratio=growth, limit=1.3),
        _measure.Gate(what="lean: kB a rank", ratio=report.figures[3].median, limit=15.0),
        _measure.Gate(what="kvs: kB a rank", ratio=_of(report, "kvs: bytes per rank"), limit=20.0),
        # What goes is asked what it owes, not everybody: stopping is no dearer than starting, however many ranks.
        _measure.Gate(
            what="lean: CPU to stop / to start", ratio=_of(report, "lean: shutdown to boot"), limit=1.2
        ),
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
