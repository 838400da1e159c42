"""Knows how to watch one actor of a bare reactor: what it was handed, what it refused, how it failed. No broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import REQUEST, RESPONSE, Message
from brokersim.reactor.actor import Actor
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.watchers import ModuleLoop, Watcher


class Probe(Actor):
    """An actor that writes the topic of each message into ``log``, which several may share."""

    #: Set for one that takes its continuations in turns of their own, as modules do.
    continues = False

    def __init__(self, reactor: Reactor, name: str = "m", log: list[Any] | None = None) -> None:
        super().__init__()
        self.reactor = reactor
        self.name = name
        self.log: list[Any] = [] if log is None else log
        self.errors: list[str] = []
        self.refusals: list[tuple[str, int]] = []

    def refuse(self, request: Message, error: Exception) -> None:
        assert isinstance(error, RequestError)
        self.refusals.append((request.topic, error.errno or 0))

    def failed(self, error: BaseException, message: Message | None) -> None:
        self.errors.append(f"{type(error).__name__} at {message.topic if message is not None else '-'}")

    def send(self, topic: str, handler: Callable[[Message], object] | None = None) -> Message:
        """Queue a request to this actor; without a handler it is only logged."""
        message = Message(REQUEST, topic, src=self, dst=self, handler=handler or self.note)
        self.reactor.push(message)
        return message

    def note(self, message: Message) -> None:
        self.log.append(message.topic)

    def hook(self, kind: str, label: str, fn: Callable[[], object] | None = None) -> Watcher:
        """A started watcher that logs its label and then calls ``fn``."""
        if self.own_loop is None:
            self.own_loop = ModuleLoop(self.reactor, self)

        def call() -> None:
            self.log.append(label)
            if fn is not None:
                fn()

        watcher = Watcher(self.own_loop, kind, call)
        watcher.start()
        return watcher

    def hooks(self, *labels: str) -> list[Watcher]:
        """Watchers whose kind is the label up to its first blank, started in this order."""
        return [self.hook(label.partition(" ")[0], label) for label in labels]

    def after(self, seconds: float, label: str) -> None:
        """A timer of this actor that logs its label."""
        self.reactor.call_later(seconds, self.log.append, label, actor=self)


def open_request(
    actor: Probe, tag: int, then: Callable[..., object], arg: Any = None, flags: int = 0
) -> Message:
    """A request of ``actor`` that waits for an answer with matchtag ``tag``."""
    request = Message(REQUEST, "peer.ask", flags=flags, matchtag=tag, src=actor)
    actor.open(tag, then, arg, request)
    return request


def answer(actor: Probe, tag: int, errnum: int = 0, flags: int = 0) -> None:
    """Queue a response to ``actor``."""
    actor.reactor.push(Message(RESPONSE, "peer.ask", matchtag=tag, errnum=errnum, flags=flags, dst=actor))


def run_until(reactor: Reactor, seconds: float) -> None:
    """Drain and fire, jumping from timer to timer, up to and including ``seconds``."""
    end = round(seconds * NS)
    while True:
        while reactor.fifo:
            reactor.drain()
        due = reactor.next_due()
        if due is None or due > end:
            reactor.now = end
            return
        reactor.now = max(reactor.now, due)
        reactor.fire_due()


def turns(reactor: Reactor, count: int) -> None:
    """Take exactly ``count`` messages off the FIFO."""
    for _ in range(count):
        reactor.drain(1)
