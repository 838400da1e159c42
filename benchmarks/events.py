"""What an event costs in process: one publisher, eight subscribed modules.

    python benchmarks/events.py [--json] [--gate] [--events N]

Shown are deliveries, eight an event, per second of CPU time. The baseline b1 is two actors on a deque.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _baselines
import _measure

import brokersim
from brokersim.instance import Instance

LISTENER = Path(__file__).resolve().parent / "modules" / "listener.py"
SUBSCRIBERS = 8
TOPIC = "heartbeat.pulse"
#: Events published in one go; the queue never holds more than this times the subscribers.
BURST = 32
TARGET = 300_000


class Publisher:
    """Publishes in bursts, the next when the last has been delivered."""

    def __init__(self, instance: Instance, events: int) -> None:
        self._client = instance.client()
        self._reactor = instance.reactor
        self._left = events
        self._done: Callable[[object], None] = lambda _: None

    def start(self, done: Callable[[object], None]) -> None:
        self._done = done
        self._burst()

    def _burst(self) -> None:
        for _ in range(min(BURST, self._left)):
            self._client.publish(TOPIC, {"n": 1})
        self._left -= min(BURST, self._left)
        # Behind the deliveries: a request the broker itself answers.
        self._client.request("broker.ping", {}, self._delivered)

    def _delivered(self, *_: object) -> None:
        if self._left:
            self._burst()
        else:
            self._done(None)


async def deliver(events: int, clock: str) -> float:
    """CPU ns per delivery."""
    async with brokersim.open_instance(modules=[], clock=clock) as instance:
        for number in range(SUBSCRIBERS):
            await instance.load(str(LISTENER), name=f"listener{number}")
        publisher = Publisher(instance, events)
        started = time.process_time_ns()
        await instance.client().occurrence(publisher.start)
        spent = time.process_time_ns() - started
        received = [module.handle.counts[5] for module in instance.modules(0)]
        if received != [events] * SUBSCRIBERS:
            raise SystemExit(f"{events} events were published; the subscribers received {received}")
        return spent / events / SUBSCRIBERS


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--events", type=_measure.positive, default=100_000, help="events a round")
    arguments = parser.parse_args()
    count = arguments.events
    report = _measure.begin("events", arguments, events=count, subscribers=SUBSCRIBERS)
    taken = _measure.rounds(
        {
            **{
                clock: partial(lambda clock: brokersim.run(deliver, count, clock, clock=clock), clock)
                for clock in ("virtual", "real")
            },
            "b1": partial(_measure.cpu_ns, _baselines.deque_loop, count),
        },
        arguments.repeats,
    )
    for clock in ("virtual", "real"):
        rates = [1e9 / ns for ns in taken[clock]]
        report.figures.append(
            _measure.Figure(
                name=f"deliveries, {clock} clock", unit="1/s", values=rates, target=TARGET, is_rate=True
            )
        )
    for name, values in taken.items():
        report.figures.append(_measure.Figure(name=f"{name}, each", unit="ns", values=values))
    report.keys = {
        "deliveries_per_s": report.figures[0].median,
        "ns_per_delivery": report.figures[2].median,
        "b1_ns": report.figures[-1].median,
    }
    report.gates = [
        _measure.Gate(
            what="delivery / b1",
            ratio=_measure.ratio(taken["virtual"], taken["b1"]),
            limit=_measure.with_engine(2.0, 3.6),
        )
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
