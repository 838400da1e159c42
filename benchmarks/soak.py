"""Does an instance stay the size it is? Everything at once for a long time: bounded, and not part of `make bench`.

    python -m benchmarks.soak [--hours H] [--jobs N] [--real MINUTES] [--json]

Virtual: H simulated hours (24) with N jobs (100,000) spread over them, a kvs commit and an event each simulated minute,
a cron entry every 10 s; each 10 minutes a module is loaded and unloaded and a client leaves with requests open. Of jobs
that have ended the last 100 are remembered. A day takes an hour and a half, three hours ten minutes. Real: the same
work as fast as it goes, for so many minutes.
A row for each twelfth: resident memory, descriptors, Python objects, open requests, messages. What grows shows as
growth of the last quarter against the second, in per cent.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from typing import Any

import attrs

import brokersim
from brokersim.brokermod import RequestError
from brokersim.instance import Instance
from tests.modules.job_harness import envelope, jobspec

#: Rows of the table.
ROWS = 12
#: Simulated seconds between two rounds of work, and how long a job runs.
ROUND = 60.0
DURATION = 30.0
#: Twice what 100,000 jobs a day take: a queue that grows all day would look like a leak.
RESOURCES = "16x4"
CONF = {"job-manager": {"inactive-num-limit": 100}}
_EVENT = {"op": "x" * 100}


@attrs.frozen
class Row:
    """What there is at one moment. ``at``: hours by the instance's clock; ``rss``: MB."""

    at: float
    rss: float
    descriptors: int
    objects: int
    open_requests: int
    messages: int


def row_of(instance: Instance) -> Row:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return Row(
        at=round(instance.reactor.now / 3.6e12, 2),
        rss=round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        descriptors=len(os.listdir("/proc/self/fd")),
        objects=len(gc.get_objects()),
        open_requests=sum(len(endpoint.pending) for endpoint in instance.all_endpoints()),
        messages=instance.messages(),
    )


class Work:
    """The mix, a round at a time."""

    def __init__(self, instance: Instance, jobs_a_round: float) -> None:
        self.instance = instance
        self.client = instance.client(name="soak")
        self.rounds = 0
        self._jobs_a_round = jobs_a_round
        self._jobs_due = 0.0

    async def begin(self) -> None:
        args = {"interval": 10.0}
        await self.client.call(
            "cron.create", {"type": "interval", "name": "t", "args": args, "command": "true"}
        )

    async def round(self) -> None:
        self.rounds += 1
        ops = [{"key": f"soak.k{self.rounds % 1000}", "flags": 0, "dirent": _dirent(self.rounds)}]
        await self.client.call("kvs.commit", {"namespace": "primary", "ops": ops, "flags": 0})
        self.client.publish("soak.event", _EVENT)
        self._jobs_due += self._jobs_a_round
        while self._jobs_due >= 1:
            self._jobs_due -= 1
            await self.client.call(
                "job-ingest.submit", {"J": envelope(jobspec(duration=DURATION)), "flags": 0}
            )
        if self.rounds % 10 == 0:
            await self._come_and_go()

    async def _come_and_go(self) -> None:
        rank = self.instance.size - 1
        leaver = self.instance.client(rank, "leaver")
        for _ in range(10):
            leaver.stream("kvs.lookup", {"namespace": "primary", "key": "none", "flags": 12}, lambda *_: None)
        leaver.close()
        await self.instance.load("heartbeat", "period=100s", rank=rank, name="again")
        await self.instance.remove("again", rank)


def _dirent(number: int) -> dict[str, Any]:
    return {"ver": 1, "type": "val", "data": "MQ==" if number % 2 else "Mg=="}


async def soak(rows: list[Row], hours: float, jobs: int, minutes: float) -> None:
    clock = "real" if minutes else "virtual"
    async with brokersim.open_instance(
        size=3, clock=clock, seed=1, resources=RESOURCES, conf=CONF
    ) as instance:
        rounds = 3600 * hours / ROUND
        work = Work(instance, jobs / rounds if not minutes else 0.2)
        await work.begin()
        began = time.monotonic()
        while len(rows) < ROWS:
            await work.round()
            if minutes:
                done = (time.monotonic() - began) / (60 * minutes)
                await instance.sleep(0.01)
            else:
                done = work.rounds / rounds
                await instance.sleep(ROUND)
            if done >= (len(rows) + 1) / ROWS:
                rows.append(row_of(instance))
                print(f"  {len(rows)} of {ROWS}: {rows[-1]}", file=sys.stderr, flush=True)


def growth(rows: list[Row], field: str) -> float:
    """Per cent by which the last quarter is above the second."""
    values = [getattr(row, field) for row in rows]
    quarter = len(values) // 4
    second, last = sum(values[quarter : 2 * quarter]), sum(values[-quarter:])
    return round(100 * (last / second - 1), 1) if second else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--real", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    clock = "real" if options.real else "virtual"
    try:
        brokersim.run(soak, rows, options.hours, options.jobs, options.real, clock=clock)
    except RequestError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    grown = {field: growth(rows, field) for field in ("rss", "descriptors", "objects", "open_requests")}
    if options.json:
        print(json.dumps({"rows": [attrs.asdict(row) for row in rows], "growth": grown}))
        return 0
    print(f"{'hours':>7} {'MB':>7} {'fds':>5} {'objects':>9} {'open':>6} {'messages':>10}")
    for row in rows:
        figures = f"{row.at:7.2f} {row.rss:7.1f} {row.descriptors:5} {row.objects:9}"
        print(f"{figures} {row.open_requests:6} {row.messages:10}")
    print(
        "growth of the last quarter against the second: " + ", ".join(f"{k} {v} %" for k, v in grown.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
