"""Knows `stats record`: what arrives on a UDP port goes into a recording; not what the packets say."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.recording import STANDARD, SYNC_SECONDS, Writer, check_new, to_document
from brokersim.cli.stats.wire import DEFAULT_TARGET, Receiver, Sender
from brokersim.cli.types import DURATION
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted


@click.command(
    "record",
    cls=Command,
    **examples(
        ("brokersim stats record week7.jsonl.gz", "what arrives at port 8125, until ^C"),
        ("brokersim stats record --for 1m out.jsonl", "one minute of it"),
        ("brokersim stats record -l :9000 --to localhost:8125 x.jsonl", "listen in between"),
    ),
)
@click.option("-l", "--listen", default=DEFAULT_TARGET, metavar="HOST:PORT", help="[127.0.0.1:8125]")
@click.option("--for", "seconds", type=DURATION, default="inf", metavar="FSD", help="end after this time")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="end after N packets")
@click.option("--to", "forward", metavar="HOST:PORT", help="send every packet on, as it is")
@click.option("--force", is_flag=True, help="overwrite OUT")
@click.argument("out", metavar="OUT.jsonl[.gz]")
@pass_session
def record(
    session: Session,
    listen: str,
    seconds: float,
    count: int | None,
    forward: str | None,
    force: bool,
    out: str,
) -> None:
    """Record packets as lines {"t": seconds, "data": "packet"}.

    t counts from the start of the recording. OUT may be - for stdout. Bytes that are no UTF-8 are kept as
    \\udc80 to \\udcff, so that replay gives every packet back byte for byte.
    """
    if session.json and out == STANDARD:
        raise usage_error(
            "--json prints a summary, and OUT is stdout too", hint="the recording itself is JSON lines"
        )
    if not force:
        check_new(out)
    sender = None if forward is None else Sender(forward)
    receiver = Receiver(listen)
    try:
        writer = Writer(out)
    except OSError as error:
        raise usage_error(f"{out}: {error.strerror}") from None
    recorder = Recorder(receiver, writer, sender)
    with _ended_by(signal.SIGTERM, signal.SIGHUP):
        session.say(f"recording {receiver.address} to {'stdout' if out == STANDARD else out}")
        try:
            recorder.run(seconds, math.inf if count is None else count)
        finally:
            writer.close()
            told = recorder.statistics()
            receiver.close()
            _tell(session, told)


class Recorder:
    """Writes packets with the seconds since it was made, and perhaps sends them on."""

    def __init__(
        self,
        receiver: Receiver,
        writer: Writer,
        sender: Sender | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receiver = receiver
        self._writer = writer
        self._sender = sender
        self._clock = clock
        self._start = clock()
        self._packets = 0
        self._bytes = 0

    def run(self, seconds: float, count: float) -> None:
        """Until so many seconds after the start or so many packets. A ^C ends it too, by its exception."""
        while self._packets < count:
            left = seconds - (self._clock() - self._start)
            if left <= 0:
                return
            if self._receiver.wait(min(left, SYNC_SECONDS)):
                self._receiver.drain(lambda packet, _: self._keep(packet, count))
                self._writer.flush()
            else:
                self._writer.sync()

    def _keep(self, packet: bytes, count: float) -> None:
        if self._packets >= count:
            return
        self._writer.write(round(self._clock() - self._start, 6), packet)
        self._packets += 1
        self._bytes += len(packet)
        if self._sender is not None:
            self._sender.send(packet)

    def statistics(self) -> JsonObject:
        """Packets and bytes written, packets the kernel dropped (None: unknown), and those not sent on."""
        return {
            "packets": self._packets,
            "bytes": self._bytes,
            "elapsed_s": round(self._clock() - self._start, 6),
            "dropped": self._receiver.dropped(),
            "not_forwarded": 0 if self._sender is None else self._packets - self._sender.packets,
        }


def _tell(session: Session, told: JsonObject) -> None:
    if session.json:
        session.write(to_document(told))
    session.say(
        f"{counted(told['packets'], 'packet')}, {counted(told['bytes'], 'byte')} in {told['elapsed_s']:.1f} s"
    )
    if told["dropped"]:
        session.say(
            f"warning: the kernel dropped {counted(told['dropped'], 'packet')}: the receive buffer was full"
        )
    if told["not_forwarded"]:
        session.say(f"warning: {counted(told['not_forwarded'], 'packet')} could not be sent on")


class _Ended(Exception):
    """A signal said so."""


@contextmanager
def _ended_by(*numbers: int) -> Iterator[None]:
    """These signals end what is inside as if it had ended by itself."""

    def end(_number: int, _frame: object) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    except _Ended:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
