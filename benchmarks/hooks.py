"""What a hook adds to an iteration of a module's loop, and what a packet of eight gauges costs.

    python benchmarks/hooks.py [--json] [--gate] [--iterations N]

One module receives a stream of requests, one iteration each. The rows differ in what is in its loop; shown is what
each adds to the same stream without a hook, in CPU ns per iteration. "Nothing moved" rows: the handler takes its own
receive count back, so the hook runs, compares and finds nothing. Emitting rows send to a connected UDP socket on
loopback whose reader empties it between the timed stretches; beside them b3, a raw connected send of such a packet,
and b1, two actors on a deque.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from socket import socket

import _baselines
import _measure

import brokersim
from brokersim.brokermod import Handle, Message

MODULE = Path(__file__).resolve().parent / "modules" / "counted.py"
MSGCOUNT = 0x1000
#: Iterations between two looks at the clock: fits the FIFO's budget and the socket's buffer.
STRETCH = 200
PACKET = b"\n".join(b"flux.counted.0.request_tx:%d|g" % (1000 + number) for number in range(8))
Loop = Callable[[Handle], object]


class Stream:
    """Sends requests in stretches and adds up the time of each; between them the packets are read."""

    def __init__(self, client: Handle, topic: str, stretches: int, between: Callable[[], object]) -> None:
        self._client = client
        self._topic = topic
        self._left = stretches
        self._between = between
        self._started = 0
        self._done: Callable[[object], None] = lambda _: None
        self.ns = 0

    def start(self, done: Callable[[object], None]) -> None:
        self._done = done
        self._stretch()

    def _stretch(self) -> None:
        client, topic = self._client, self._topic
        self._started = time.process_time_ns()
        for _ in range(STRETCH - 1):
            client.request(topic)
        client.request(topic, None, self._ended)

    def _ended(self, _response: Message, _arg: None) -> None:
        self.ns += time.process_time_ns() - self._started
        self._between()
        self._left -= 1
        if self._left:
            self._stretch()
        else:
            self._done(None)


async def stream(
    topic: str, iterations: int, prepare: Loop, stats: str | None, between: Callable[[], object]
) -> float:
    """CPU ns per iteration of the module, sending included."""
    stretches = max(1, iterations // STRETCH)
    async with brokersim.open_instance(modules=[], stats=stats) as instance:
        await instance.load(str(MODULE))
        await instance.load(str(MODULE), name="other")
        client = instance.client()
        prepare(instance.broker(0).module("counted" if prepare is not other_hooked else "other"))
        await client.call(topic)  # remembers the way, so that every later request costs one look-up
        await client.occurrence(Stream(client, topic, 2, between).start)
        measured = Stream(client, topic, stretches, between)
        await client.occurrence(measured.start)
        return measured.ns / stretches / STRETCH


def no_hook(_: Handle) -> None:
    pass


def instrument(hook: str, handle: Handle) -> None:
    handle.set_mask(MSGCOUNT)
    assert handle.instrument is not None
    handle.instrument.use(hook)


def other_hooked(handle: Handle) -> None:
    instrument("prepare", handle)


def set_and_cleared(handle: Handle) -> None:
    instrument("prepare", handle)
    handle.set_mask(0)


def empty_check(handle: Handle) -> None:
    handle.check_watcher_create(lambda *_: None).start()


def empty_prepare_and_check(handle: Handle) -> None:
    empty_check(handle)
    handle.prepare_watcher_create(lambda *_: None).start()


#: What the rows of the table have in their loop.
LOOPS: dict[str, Loop] = {
    "none": no_hook,
    "another module's": other_hooked,
    "set, then cleared": set_and_cleared,
    "empty check": empty_check,
    "empty prepare and check": empty_prepare_and_check,
    "prepare": partial(instrument, "prepare"),
    "check": partial(instrument, "check"),
    "timer:1s": partial(instrument, "timer:1s"),
}
QUIET = tuple(LOOPS)
EMITTING = ("none", "prepare", "check")
#: ns an iteration, as promised for the reference machine.
TARGETS = {"another module's": 10, "set, then cleared": 10, "timer:1s": 10, "prepare": 80, "check": 80}
EMIT_TARGET = 1800


@contextmanager
def statsd() -> Iterator[tuple[str, socket, socket]]:
    """A statsd address, its receiving socket, and a raw sender to it."""
    with _baselines.udp_pair() as (receiver, sender):
        yield f"127.0.0.1:{receiver.getsockname()[1]}", receiver, sender


def raw_send(sender: socket, receiver: socket, packets: int) -> float:
    """b3: CPU ns of one connected, non-blocking UDP send."""
    spent = 0
    for _ in range(max(1, packets // STRETCH)):
        started = time.process_time_ns()
        for _ in range(STRETCH):
            sender.send(PACKET)
        spent += time.process_time_ns() - started
        _baselines.empty(receiver)
    return spent / max(1, packets // STRETCH) / STRETCH


def gate(what: str, added: list[float], baseline: list[float], limit: float) -> _measure.Gate:
    return _measure.Gate(what=what, ratio=_measure.ratio(added, baseline), limit=limit)


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument(
        "--iterations", type=_measure.positive, default=40_000, help="iterations a row and round"
    )
    arguments = parser.parse_args()
    count = arguments.iterations
    report = _measure.begin("hooks", arguments, iterations=count, packet_bytes=len(PACKET))
    with statsd() as (address, receiver, sender):
        between = partial(_baselines.empty, receiver)

        def quiet(name: str) -> float:
            return brokersim.run(stream, "counted.quiet", count, LOOPS[name], None, int)

        def emitting(name: str) -> float:
            return brokersim.run(stream, "counted.count", count, LOOPS[name], address, between)

        taken = _measure.rounds(
            {
                **{f"quiet {name}": partial(quiet, name) for name in QUIET},
                **{f"emitting {name}": partial(emitting, name) for name in EMITTING},
                "b1": partial(_measure.cpu_ns, _baselines.deque_loop, count),
                "b3": partial(raw_send, sender, receiver, count),
            },
            arguments.repeats,
        )
    added = {name: _measure.differences(taken[f"quiet {name}"], taken["quiet none"]) for name in QUIET[1:]}
    sent = {
        name: _measure.differences(taken[f"emitting {name}"], taken["emitting none"]) for name in EMITTING[1:]
    }
    figure = partial(_measure.Figure, unit="ns")
    report.figures = [
        figure(name="no hook, the whole iteration", values=taken["quiet none"]),
        *(
            figure(name=f"+ {name}, nothing moved", values=values, target=TARGETS.get(name))
            for name, values in added.items()
        ),
        *(
            figure(name=f"+ {name}, 8 gauges sent", values=values, target=EMIT_TARGET)
            for name, values in sent.items()
        ),
        figure(name="b1", values=taken["b1"]),
        figure(name="b3, raw UDP send", values=taken["b3"]),
    ]
    report.keys = {
        "unused_ns": report.figures[1].median,
        "cleared_ns": report.figures[2].median,
        "unchanged_ns": next(f.median for f in report.figures if f.name.startswith("+ prepare, nothing")),
        "emitting_ns": next(f.median for f in report.figures if f.name.startswith("+ prepare, 8")),
        "b1_ns": report.figures[-2].median,
        "b3_ns": report.figures[-1].median,
    }
    report.gates = [
        gate("unused / b1", added["another module's"], taken["b1"], 0.15),
        gate("cleared / b1", added["set, then cleared"], taken["b1"], 0.15),
        gate("prepare, nothing moved / b1", added["prepare"], taken["b1"], _measure.with_engine(0.6, 0.75)),
        gate("prepare, 8 gauges / b3", sent["prepare"], taken["b3"], 2.3),
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
