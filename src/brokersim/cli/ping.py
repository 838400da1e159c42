"""Knows the command that measures round trips to a service."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import answered
from brokersim.cli.ping_text import NS, now, payload_of, reply_line, summary_line
from brokersim.cli.session import Session, nodeid_of
from brokersim.cli.types import DURATION, RANK, TARGET, Target
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EHOSTUNREACH, ENOSYS, RequestError, strerror


@click.command(
    "ping",
    cls=Command,
    **examples(
        ("brokersim ping -c 3 kvs", "three round trips"),
        ("brokersim ping -i 0 -c 10000 4!kvs", "rank 4, as fast as they return"),
    ),
)
@click.option("-r", "--rank", type=RANK, help="ask this rank")
@click.option(
    "-p", "--pad", type=click.IntRange(0, 16 << 20), default=0, metavar="BYTES", help="pad the payload"
)
@click.option("-i", "--interval", type=DURATION, default="1s", metavar="FSD", help="between pings  [1s]")
@click.option("-c", "--count", type=click.IntRange(min=1), help="stop after this many  [^C]")
@click.option("-b", "--batch", is_flag=True, help="send all before reading any; needs -c")
@click.option("-u", "--userid", is_flag=True, help="print userid and rolemask, too")
@click.argument("target", type=TARGET)
@pass_session
def ping(
    session: Session,
    rank: int | None,
    pad: int,
    interval: float,
    count: int | None,
    batch: bool,
    userid: bool,
    target: Target,
) -> None:
    """Measure the round trip to a service; TARGET is SERVICE, RANK!SERVICE or RANK."""
    if batch and count is None:
        raise click.UsageError("--batch needs --count")
    if rank is not None:
        target = target._replace(rank=rank)
    pings = Pings(session, target, pad, userid)
    try:
        if batch and count is not None:
            pings.at_once(count)
        else:
            pings.in_turn(count, interval)
    finally:
        pings.summary()


class Pings:
    """One command's pings: sends, receives, prints, sums up."""

    def __init__(self, session: Session, target: Target, pad: int, userid: bool) -> None:
        self._session = session
        self._target = target
        self._pad = "p" * pad
        self._userid = userid
        self._sent = 0
        self._times: list[float] = []

    def at_once(self, count: int) -> None:
        payloads = [self._payload() for _ in range(count)]
        for tag in self._session.client.send_requests(self._topic, payloads, nodeid_of(self._target.rank)):
            self._receive(tag)

    def in_turn(self, count: int | None, interval: float) -> None:
        client = self._session.client
        while True:
            payload = self._payload()
            self._receive(client.send_request(self._topic, payload, nodeid_of(self._target.rank)))
            if self._sent == count:
                return
            self._session.sleep(interval)

    def _payload(self) -> JsonObject:
        self._sent += 1
        return payload_of(self._sent - 1, self._pad)

    @property
    def _topic(self) -> str:
        return f"{self._target.service}.ping"

    def _receive(self, tag: int) -> None:
        response = self._session.client.recv_response(tag)
        if response.errnum:
            raise self._failed(RequestError(response.errnum))
        answer = response.payload
        sent = answer["time.tv_sec"] * NS + answer["time.tv_nsec"]
        elapsed = (now() - sent) / 1e6
        self._times.append(elapsed)
        self._show(answer, elapsed)

    def _show(self, answer: JsonObject, elapsed: float) -> None:
        if self._session.json:
            shown: dict[str, object] = {
                key: answer[key] for key in ("seq", "route", "userid", "rolemask", "rank") if key in answer
            }
            self._session.emit(
                {"target": str(self._target), **shown, "pad_bytes": len(self._pad), "time_ms": elapsed}
            )
            return
        self._session.out(reply_line(str(self._target), len(self._pad), answer, elapsed, self._userid))

    def _failed(self, error: RequestError) -> Exception:
        # The errno's own words, as upstream's ping; the hint is what a wrong name needs.
        what = f"{self._target}.ping: {strerror(error.errno or 0)}"
        if error.errno == ENOSYS:
            from brokersim.cli.module import service_hint

            hint = service_hint(self._session, self._target.service)
            return answered(error, what, hint=hint, attempt="brokersim module list")
        if error.errno == EHOSTUNREACH:
            return answered(error, what, attempt="brokersim getattr size")
        return answered(error, what)

    def summary(self) -> None:
        """One line when several pings came back, also after ^C."""
        line = summary_line(self._sent, self._times)
        if line and not self._session.json:
            self._session.say(line)
