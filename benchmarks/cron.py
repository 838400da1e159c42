"""What a cron run and an event cost beside N entries that are not due, and beside a hundredth of them.

    python benchmarks/cron.py [--json] [--gate] [--entries N]

Virtual clock. Half of the entries wait for an hour's end, half for events that do not come; beside them a hundred
publish an event each second, and a client publishes events that nobody waits for.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import _measure
from ranks import resident

import brokersim
from brokersim.instance import Instance

DUE = 100
SECONDS = 50
EVENTS = 10_000


def wish(kind: str, **args: Any) -> dict[str, Any]:
    args["message"] = {"topic": "bench.ran", "payload": {}}
    return {"type": kind, "name": "bench", "command": "", "args": args}


async def create(instance: Instance, wishes: list[dict[str, Any]]) -> None:
    client = instance.client()

    def start(done: Any) -> None:
        left = iter(wishes)

        def following(response: Any, _: None) -> None:
            if response is not None and response.errnum:
                raise SystemExit(f"cron.create failed: {response.payload_str}")
            one = next(left, None)
            if one is None:
                done(None)
            else:
                client.request("cron.create", one, following)

        following(None, None)

    await client.occurrence(start)
    client.close()


async def measure(entries: int) -> dict[str, float]:
    async with brokersim.open_instance(modules=("heartbeat", "cron")) as instance:
        before, began = resident(), time.process_time()
        idle = [
            wish("interval", interval=36_000.0, after=36_000.0),
            wish("event", topic="never.*", nth=0, after=0),
        ]
        await create(instance, [idle[number % 2] for number in range(entries)])
        made, grown = time.process_time() - began, resident() - before
        await create(instance, [wish("interval", interval=1.0, after=1.0)] * DUE)
        await instance.sleep(2.5)
        began = time.process_time()
        await instance.sleep(SECONDS)
        runs = time.process_time() - began
        client = instance.client()
        began = time.process_time()
        for _ in range(EVENTS):
            client.publish("heartbeat.pulse", {})
        await instance.sleep(0.001)
        events = time.process_time() - began
    return {
        "create_us": made / entries * 1e6,
        "bytes": grown / entries,
        "run_us": runs / SECONDS / DUE * 1e6,
        "event_us": events / EVENTS * 1e6,
    }


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument(
        "--entries", type=_measure.positive, default=1_000_000, help="entries that are not due"
    )
    arguments = parser.parse_args()
    sizes = (max(2, arguments.entries // 100), arguments.entries)
    report = _measure.begin("cron", arguments, entries=arguments.entries)
    rounds = [{size: brokersim.run(measure, size) for size in sizes} for _ in range(arguments.repeats)]

    def values(size: int, key: str) -> list[float]:
        return [one[size][key] for one in rounds]

    report.figures = [
        _measure.Figure(name=f"beside {size:,}: {what}", unit=unit, values=values(size, key))
        for size in sizes
        for what, unit, key in (
            ("a run", "µs", "run_us"), ("an event", "µs", "event_us"), ("to create one", "µs", "create_us"),
            ("memory of one", "B", "bytes"),
        )
    ]  # fmt: skip
    small, large = sizes
    report.gates = [
        _measure.Gate(
            what=f"{what}: cost beside N / beside N/100",
            ratio=_measure.ratio(values(large, key), values(small, key)),
            limit=limit,
        )
        for what, key, limit in (("a run", "run_us", 2.0), ("an event", "event_us", 2.5))
    ]
    report.keys = {"run_growth": report.gates[0].ratio, "event_growth": report.gates[1].ratio}
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
