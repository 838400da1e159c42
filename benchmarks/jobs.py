"""What 10,000 simulated jobs take through all the real modules: virtual clock, SQLite on.

    python benchmarks/jobs.py [--json] [--gate] [--jobs N] [--serial N] [--profile]

Bulk: all jobs are submitted at once and drained. Serial: a client a job, which submits it, follows its logs and
leaves, as `flux run hostname` in a loop does. b1 is two actors on a deque, per message. flux-core 0.88 needs 51 to
58 s for 10,000 simulated jobs on such a machine, and does real work on top that brokersim does not do.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import _baselines
import _measure
from ranks import resident

import brokersim
from brokersim.brokermod import Message, RequestError
from brokersim.instance import Instance
from brokersim.lab.load.jobs import SUBMIT, serial_jobs_inside, submission

RUN_TIME = 0.001
RESOURCES = "16x4"
Work = Callable[[Instance, int], Awaitable[object]]


async def bulk(instance: Instance, jobs: int) -> None:
    """Submit all jobs, then wait until the queue is drained."""
    client = instance.client()
    left = jobs

    def start(done: Callable[[object], None]) -> None:
        def submitted(response: Message, _: None) -> None:
            nonlocal left
            if response.errnum:
                done(RequestError(response.errnum, response.payload_str or ""))
            left -= 1
            if not left:
                client.request("job-manager.drain", None, lambda answer, _: done(answer.errnum))

        payload = submission(RUN_TIME)
        for _ in range(jobs):
            client.request(SUBMIT, payload, submitted)

    errnum = await client.occurrence(start)
    if errnum:
        raise SystemExit(f"job-manager.drain ended with errnum {errnum}")


async def serial(instance: Instance, jobs: int) -> None:
    await serial_jobs_inside(instance, jobs, RUN_TIME)


async def run_jobs(work: Work, jobs: int, profile: cProfile.Profile | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with brokersim.open_instance(state_dir=Path(folder), resources=RESOURCES) as instance:
            started, cpu, messages = time.perf_counter(), time.process_time(), instance.messages()
            before = resident()
            with profiling(profile):
                await work(instance, jobs)
            return {
                "wall_s": time.perf_counter() - started,
                "cpu_s": time.process_time() - cpu,
                "messages": instance.messages() - messages,
                "bytes": resident() - before,
                "simulated_s": instance.reactor.now / 1e9,
            }


@contextmanager
def profiling(profile: cProfile.Profile | None) -> Iterator[None]:
    if profile is None:
        yield
        return
    with profile:
        yield


def top_ten(profile: cProfile.Profile) -> list[str]:
    """The functions in which most time passed, themselves only."""
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(10)
    rows = text.getvalue().splitlines()
    at = next(number for number, row in enumerate(rows) if "tottime" in row)
    return [row.replace(f"{Path.cwd()}/", "") for row in rows[at : at + 11]]


def figures(
    name: str, jobs: int, runs: list[dict[str, float]], target: float | None
) -> list[_measure.Figure]:
    figure = _measure.Figure
    messages = [run["messages"] for run in runs]
    return [
        figure(name=f"{name}: wall", unit="s", values=[run["wall_s"] for run in runs], target=target),
        figure(name=f"{name}: CPU", unit="s", values=[run["cpu_s"] for run in runs], target=target),
        figure(name=f"{name}: jobs per CPU s", unit="1/s", values=[jobs / run["cpu_s"] for run in runs]),
        figure(name=f"{name}: messages", unit="", values=messages),
        figure(
            name=f"{name}: messages per CPU s",
            unit="1/s",
            values=[count / run["cpu_s"] for count, run in zip(messages, runs, strict=True)],
        ),
        # Memory that an earlier run has left is used again, so of several rounds the first tells.
        figure(name=f"{name}: memory a job", unit="kB", values=[runs[0]["bytes"] / jobs / 1000]),
    ]


def measure(arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Bulk, serial and b1 by turns."""
    works: dict[str, tuple[Work, int]] = {
        "bulk": (bulk, arguments.jobs),
        "serial": (serial, arguments.serial),
    }
    brokersim.run(run_jobs, bulk, 10, None)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*works, "b1")}
    for _ in range(arguments.repeats):
        for name, (work, jobs) in works.items():
            runs[name].append(brokersim.run(partial(run_jobs, work, jobs, None)))
        runs["b1"].append({"ns": _measure.cpu_ns(_baselines.deque_loop, 200_000)})
    return runs


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--jobs", type=_measure.positive, default=10_000, help="jobs submitted in bulk")
    parser.add_argument("--serial", type=_measure.positive, default=500, help="jobs run one after the other")
    parser.add_argument(
        "--profile", action="store_true", help="a second bulk run under cProfile: its ten worst"
    )
    arguments = parser.parse_args()
    report = _measure.begin(
        "jobs", arguments, jobs=arguments.jobs, serial=arguments.serial, resources=RESOURCES, sqlite="on"
    )
    runs = measure(arguments)
    target = 30 * arguments.jobs / 10_000
    report.figures = figures("bulk", arguments.jobs, runs["bulk"], target)
    report.figures += figures("serial", arguments.serial, runs["serial"], None)
    per_job = [run["cpu_s"] / arguments.jobs * 1e9 for run in runs["bulk"]]
    b1 = [run["ns"] for run in runs["b1"]]
    report.keys = {
        "jobs": arguments.jobs,
        "wall_s": report.figures[0].median,
        "cpu_s": report.figures[1].median,
        "messages": report.figures[3].median,
        "messages_per_s": report.figures[4].median,
        "serial_messages_per_job": report.figures[9].median / arguments.serial,
    }
    # 30 s for 10,000 are 3 ms a job, b1 being 97 ns there.
    report.gates = [_measure.Gate(what="bulk: a job / b1", ratio=_measure.ratio(per_job, b1), limit=31_000)]
    if arguments.profile:
        profile = cProfile.Profile()
        brokersim.run(run_jobs, bulk, arguments.jobs, profile)
        report.notes += top_ten(profile)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
