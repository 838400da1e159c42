"""Knows how a trace is replayed into a live instance through its socket; not how answers are compared.

Imports no trio: it is what a client command does.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from brokersim.lab.load.message_trace import MessageTrace
from brokersim.lab.load.replay_report import Replayed, Replies
from brokersim.net.client import Client
from brokersim.net.instance_clock import InstanceClock
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.jobspec import simulated
from brokersim.protocol.message import FLAG_STREAMING, RESPONSE, Message


def replay(client: Client, trace: MessageTrace, speed: float = 1.0, patience: float = 5.0) -> Replayed:
    """Send each request at its time, ``speed`` times as fast (infinity: as answers allow), and compare the answers.

    Times are those of the instance's clock. ``patience`` s are waited after the last for what is still out. Raises
    Unreachable, TimeoutError (the client's deadline).
    """
    replayer = _Replayer(client, trace)
    start, clock = time.monotonic(), InstanceClock(client)
    for number, asked in enumerate(trace.requests):
        if asked.at / speed > clock.now():
            clock.receive_until(asked.at / speed, replayer.take)
        while (before := replayer.replies.needs(number)) is not None:
            clock.receive_until(clock.now() + patience, replayer.take, partial(replayer.may_send, number))
            if replayer.replies.needs(number) == before:
                replayer.replies.give_up(before)
        replayer.send(number)
    clock.receive_until(clock.now() + patience, replayer.take, lambda: replayer.replies.is_complete)
    return replayer.replies.result(time.monotonic() - start)


class _Replayer:
    def __init__(self, client: Client, trace: MessageTrace) -> None:
        self._client = client
        self._trace = trace
        self._open: dict[int, tuple[int, float]] = {}
        self.replies = Replies(trace)

    def send(self, number: int) -> None:
        asked = self._trace.requests[number]
        flags = FLAG_STREAMING if asked.is_streaming else 0
        payload = _harmless(asked.topic, self.replies.payload(number))
        tag = self._client.send_request(asked.topic, payload, flags=flags)
        self._open[tag] = (number, time.monotonic())

    def may_send(self, number: int) -> bool:
        """All that had been answered before it in the trace has been answered."""
        return self.replies.needs(number) is None

    def take(self, message: Message) -> None:
        """Note an answer; what is none of ours is passed over."""
        if message.type != RESPONSE or message.matchtag not in self._open:
            return
        number, sent = self._open[message.matchtag]
        try:
            payload = None if message.errnum or message.data is None else message.payload
        except RequestError:
            payload = None
        self.replies.take(number, message.errnum, payload, time.monotonic() - sent)


def _harmless(topic: str, payload: object) -> object:
    """A job of a trace takes a moment; its command, recorded somewhere else, is not run here."""
    if topic == "job-ingest.submit" and isinstance(payload, dict):
        with suppress(ValueError, TypeError, AttributeError):
            return {**payload, "J": simulated(payload.get("J", ""))}
    return payload
