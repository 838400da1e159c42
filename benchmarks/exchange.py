"""What a message costs in process: client, kvs, content, content-sqlite and back, six messages an exchange.

    python benchmarks/exchange.py [--json] [--gate] [--exchanges N]

Real reactor, real broker, modules loaded from files, counters on, hooks off; the modules do nothing but pass on.
Beside it the same exchange on asyncio (a queue and a task a party), and b1, two actors on a deque. Figures are CPU
nanoseconds of the process per message; `w` is the number of exchanges kept in flight.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import _baselines
import _measure

import brokersim
from brokersim.brokermod import Handle, Message

MODULES = Path(__file__).resolve().parent / "modules"
CHAIN = {"sqlite": "content-sqlite", "content": "content", "kvs": "kvs"}
MESSAGES = 6
#: As asyncio is usually written; and squeezed, with brokersim's message object and no coroutine it can do without.
ASYNCIO = {"asyncio": _baselines.asyncio_chain, "lean asyncio": _baselines.lean_asyncio_chain}
HEADLINE = "virtual, w=64"


class Driver:
    """Keeps ``window`` look-ups in flight until ``exchanges`` have been answered; by callbacks, as a module would."""

    def __init__(self, client: Handle, exchanges: int, window: int) -> None:
        self._client = client
        self._window = window
        self._unsent = self._unanswered = exchanges
        self._done: Callable[[object], None] = lambda _: None
        self._started = (0, 0)
        self.cpu_ns = self.wall_ns = 0

    def start(self, done: Callable[[object], None]) -> None:
        self._done = done
        self._started = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(min(self._window, self._unsent)):
            self._send()

    def _send(self) -> None:
        self._unsent -= 1
        self._client.request("kvs.lookup", {"key": "a.b"}, self._answered)

    def _answered(self, _response: Message, _arg: None) -> None:
        self._unanswered -= 1
        if self._unsent:
            self._send()
        elif not self._unanswered:
            self.cpu_ns = time.process_time_ns() - self._started[0]
            self.wall_ns = time.perf_counter_ns() - self._started[1]
            self._done(None)


async def exchange(exchanges: int, window: int, clock: str, wall: list[float]) -> float:
    """CPU ns per message; the wall-clock figure is appended to ``wall``."""
    async with brokersim.open_instance(modules=[], clock=clock) as instance:
        for file, name in CHAIN.items():
            await instance.load(str(MODULES / f"{file}.py"), name=name)
        client = instance.client()
        driver = Driver(client, exchanges, window)
        await client.occurrence(driver.start)
        received = sum(instance.broker(0).module(name).counts[1] for name in CHAIN.values())
        # Three requests an exchange, and to each module the loader's welcome.
        if received != 3 * exchanges + len(CHAIN):
            raise SystemExit(f"the modules received {received} requests, not {3 * exchanges} and 3 welcomes")
        wall.append(driver.wall_ns / exchanges / MESSAGES)
        return driver.cpu_ns / exchanges / MESSAGES


def on_asyncio(chain: Callable[[int, int], Coroutine[Any, Any, float]], exchanges: int, window: int) -> float:
    return asyncio.run(chain(exchanges, window))


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--exchanges", type=_measure.positive, default=40_000, help="exchanges a round")
    arguments = parser.parse_args()
    count = arguments.exchanges
    report = _measure.begin("exchange", arguments, exchanges=count, payload="20 B", hooks="off")
    wall: dict[str, list[float]] = {}

    def ours(clock: str, window: int) -> float:
        taken = wall.setdefault(f"{clock}, w={window}", [])
        return brokersim.run(exchange, count, window, clock, taken, clock=clock)

    taken = _measure.rounds(
        {
            **{
                f"{clock}, w={window}": partial(ours, clock, window)
                for clock in ("virtual", "real") for window in (64, 1)
            },
            **{
                f"{name}, w={window}": partial(on_asyncio, chain, count, window)
                for name, chain in ASYNCIO.items() for window in (64, 1)
            },
            "b1": partial(_measure.cpu_ns, _baselines.deque_loop, count * MESSAGES),
        },
        arguments.repeats,
    )  # fmt: skip
    report.figures = [
        _measure.Figure(
            name=name,
            unit="ns/message",
            values=values,
            target=400 if "w=64" in name and name in wall else None,
        )
        for name, values in taken.items()
    ]
    ours_median = report.figures[0].median
    against_asyncio = _measure.ratio(taken["asyncio, w=64"], taken[HEADLINE])
    report.keys = {
        "ns_per_message": ours_median,
        "asyncio_ns_per_message": next(f.median for f in report.figures if f.name == "asyncio, w=64"),
        "ratio": against_asyncio,
        "ratio_w1": _measure.ratio(taken["asyncio, w=1"], taken["virtual, w=1"]),
        "b1_ns_per_message": report.figures[-1].median,
        "ratio_to_b1": _measure.ratio(taken[HEADLINE], taken["b1"]),
        "wall_ns_per_message": sorted(wall[HEADLINE][1:])[arguments.repeats // 2],
    }
    report.gates = [
        _measure.Gate(
            what="asyncio / brokersim, w=64",
            ratio=against_asyncio,
            limit=_measure.with_engine(4.5, 3.0),
            at_least=True,
        ),
        _measure.Gate(
            what="brokersim, w=64 / b1",
            ratio=report.keys["ratio_to_b1"],
            limit=_measure.with_engine(3.1, 5.0),
        ),
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
