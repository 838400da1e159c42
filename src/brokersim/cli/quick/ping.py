"""Knows the short way of `ping`: round trips in turn to a service, until one fails; not what is told then."""

from __future__ import annotations

import time

from brokersim.cli.ping_text import NS, now, payload_of, reply_line, shown_target, summary_line
from brokersim.cli.quick.asking import Asking
from brokersim.cli.quick.peer import Aside
from brokersim.protocol.lean import NODEID_ANY

#: Characters of a service's name that need no second look.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
#: Any number of so many digits fits where a rank is sent; one of more has its second look.
_RANK_DIGITS = 9
_INTERVAL = 1.0


def ping(asking: Asking) -> None:
    """As many as were asked for; without a number, until ^C."""
    if asking.json:
        raise Aside
    service, rank = _target(asking.one())
    count, interval = _count(asking.options.get("count")), _interval(asking.options.get("interval"))
    times: list[float] = []
    sent = 0
    try:
        while True:
            sent += 1
            times.append(_one(asking, service, rank, sent - 1))
            if sent == count:
                return
            time.sleep(interval)
    finally:
        line = summary_line(sent, times)
        if line:
            asking.say(line)


def _one(asking: Asking, service: str, rank: int | None, number: int) -> float:
    """One round trip, told; milliseconds."""
    payload = payload_of(number, "")
    answer = asking.rpc(f"{service}.ping", payload, NODEID_ANY if rank is None else rank)
    sent = answer["time.tv_sec"] * NS + answer["time.tv_nsec"]
    elapsed: float = (now() - sent) / 1e6
    asking.out(reply_line(shown_target(service, rank), 0, answer, elapsed, "userid" in asking.options))
    return elapsed


def _target(text: str) -> tuple[str, int | None]:
    rank, mark, service = text.rpartition("!")
    if text.isdecimal() and text.isascii():
        rank, mark, service = text, "!", "broker"
    if not service or not _PLAIN.issuperset(service) or (service.isdecimal() and not mark):
        raise Aside
    if not mark or rank == "any":
        return service, None
    return service, _number(rank)


def _number(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) <= _RANK_DIGITS):
        raise Aside
    return int(text)


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    count = _number(text)
    if not count:
        raise Aside
    return count


def _interval(text: str | None) -> float:
    if text is None:
        return _INTERVAL
    from brokersim.protocol.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError:
        raise Aside from None
