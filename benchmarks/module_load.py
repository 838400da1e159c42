"""What loading a module costs, in the broker's process and as one of its own, and what a message to the latter does.

    python benchmarks/module_load.py [--json] [--gate] [--pings N] [--loads N]

A small file written for Flux is loaded anew each time, so nothing comes from the import cache. The ping's round trip is
over the bare socket pair, frames encoded beforehand, module and measuring process pinned to one CPU; flux-core 0.88's
own loader takes 54 µs there on the reference machine. Baselines: b4, a blocking echo of as many bytes between two
Python processes; and the start of an interpreter that does nothing.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import _baselines
import _measure

import brokersim
from brokersim.protocol.message import FLAG_NORESPONSE, FLAG_ROUTE, REQUEST, RESPONSE, Message
from brokersim.protocol.wire import FrameDecoder, encode

FILE = """\
from flux.brokermod import BrokerModule, event_handler, request_handler


class Small(BrokerModule):
    @request_handler("hello")
    def hello(self, msg):
        self.handle.respond(msg, {"hello": self.name})

    @event_handler("note")
    def note(self, msg):
        self.log.info(msg.topic)
"""
#: ms a load, and µs a round trip, as promised.
LOAD_TARGET, RTT_TARGET = 50.0, 54.0


class Ends:
    """The broker's end of one module process: just enough to start it and to ask it."""

    def __init__(self, path: Path) -> None:
        self.socket, theirs = socket.socketpair()
        self.decoder = FrameDecoder()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "brokersim.fluxapi.exec", str(path)],
            pass_fds=[theirs.fileno()], env={**os.environ, "FLUX_MODULE_URI": f"fd://{theirs.fileno()}"},
        )  # fmt: skip
        theirs.close()
        welcome = {
            "args": [],
            "attrs": {"rank": "0", "size": "1"},
            "conf": {},
            "name": "small",
            "uuid": "m" * 36,
        }
        self.socket.sendall(b"\0" + self.request("welcome", welcome, FLAG_NORESPONSE))
        self.until_running()

    def request(self, topic: str, payload: object, flags: int = 0) -> bytes:
        message = Message(
            REQUEST, topic, payload, flags | FLAG_ROUTE, 1, userid=0, rolemask=5, routes=("c", "b")
        )
        return encode(message)

    def until_running(self) -> None:
        while True:
            for message in self.decoder.feed(self.socket.recv(65536)):
                if message.topic == "module.status":
                    return
                if message.topic == "event.subscribe":
                    answer = Message(RESPONSE, message.topic, flags=FLAG_ROUTE, matchtag=message.matchtag)
                    self.socket.sendall(encode(answer))

    def round_trips(self, frame: bytes, count: int) -> list[float]:
        """Seconds of each; the first answer says how long they are."""
        self.socket.sendall(frame)
        size, taken = len(self.socket.recv(65536)), []
        for _ in range(count):
            started = time.perf_counter()
            self.socket.sendall(frame)
            left = size
            while left > 0:
                left -= len(self.socket.recv(65536))
            taken.append(time.perf_counter() - started)
        return taken

    def close(self) -> None:
        self.socket.sendall(self.request("small.shutdown", None, FLAG_NORESPONSE))
        while data := self.socket.recv(65536):
            for message in self.decoder.feed(data):
                if message.topic == "module.status" and not message.flags & FLAG_NORESPONSE:
                    self.socket.sendall(
                        encode(Message(RESPONSE, message.topic, flags=FLAG_ROUTE, matchtag=message.matchtag))
                    )
        self.socket.close()
        self.process.wait(10)


@contextmanager
def module_process(path: Path) -> Iterator[Ends]:
    ends = Ends(path)
    try:
        yield ends
    finally:
        ends.close()


def files(folder: Path, count: int) -> list[Path]:
    """As many files of the same text; new ones each time, so that none is imported already."""
    made = [folder / f"small{time.perf_counter_ns()}_{number}.py" for number in range(count)]
    for path in made:
        path.write_text(FILE)
    return made


def load_ms(folder: Path, count: int, as_process: bool) -> float:
    """Median of ``count`` loads, each until the module runs, in an instance in real time without other modules."""
    taken: list[float] = []

    async def main() -> None:
        async with brokersim.open_instance(modules=(), clock="real") as instance:
            for path in files(folder, count):
                started = time.perf_counter()
                await instance.load(str(path), name="small", as_process=as_process)
                taken.append(1e3 * (time.perf_counter() - started))
                await instance.remove("small")

    brokersim.run(main, clock="real")
    return statistics.median(taken)


def interpreter_ms(count: int) -> float:
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append(1e3 * (time.perf_counter() - started))
    return statistics.median(taken)


def parts(
    folder: Path, ends: Ends, echo: Callable[[int], list[float]], pings: int, loads: int
) -> dict[str, Callable[[], float]]:
    frame = ends.request("small.ping", {"seq": 1, "pad": ""})
    return {
        "b4": lambda: 1e6 * statistics.median(echo(pings)),
        "ping over fd://, round trip": lambda: 1e6 * statistics.median(ends.round_trips(frame, pings)),
        "interpreter start": lambda: interpreter_ms(loads),
        "load in process": lambda: load_ms(folder, loads, as_process=False),
        "load --exec": lambda: load_ms(folder, loads, as_process=True),
    }


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--pings", type=_measure.positive, default=3_000, help="round trips a round")
    parser.add_argument("--loads", type=_measure.positive, default=5, help="loads of each kind a round")
    arguments = parser.parse_args()
    report = _measure.begin("module_load", arguments, pings=arguments.pings, loads=arguments.loads)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (path,) = files(folder, 1)
        with module_process(path) as ends, _baselines.echo(120) as echo:
            made = parts(folder, ends, echo, arguments.pings, arguments.loads)
            taken = _measure.rounds(made, arguments.repeats)
    targets = {"load in process": LOAD_TARGET, "ping over fd://, round trip": RTT_TARGET}
    for what, values in taken.items():
        unit = "µs" if what in ("b4", "ping over fd://, round trip") else "ms"
        report.figures.append(_measure.Figure(name=what, unit=unit, values=values, target=targets.get(what)))
    report.keys = {
        "load_ms": statistics.median(taken["load in process"]),
        "exec_load_ms": statistics.median(taken["load --exec"]),
        "interpreter_ms": statistics.median(taken["interpreter start"]),
        "ping_rtt_us": statistics.median(taken["ping over fd://, round trip"]),
        "b4_us": statistics.median(taken["b4"]),
    }
    report.gates = [
        _measure.Gate(what=f"{what} / {base}", ratio=_measure.ratio(taken[what], taken[base]), limit=limit)
        for what, base, limit in (
            ("ping over fd://, round trip", "b4", 9.0),
            ("load in process", "interpreter start", 2.0),
            ("load --exec", "interpreter start", 20.0),
        )
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
