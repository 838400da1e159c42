"""Knows how far a rank's broker is in its life, in the words of Flux's state machine, and who is told of it.

What is done in each state is not known here: whoever takes an instance through its life says when a state has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from brokersim.protocol.duration import round_duration
from brokersim.protocol.errnums import ENODATA, ENOENT
from brokersim.protocol.message import Message
from brokersim.routing import logring
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint, Table

#: Flux's states in their order; the number of one is its place here.
STATES: Final = (
    "load-builtins", "join", "config-sync", "init", "quorum", "run", "cleanup", "shutdown", "finalize", "goodbye",
    "unload-builtins", "exit",
)  # fmt: skip
RUN: Final = STATES.index("run")


class MonitorArgs(msgspec.Struct):
    """Payload of state-machine.monitor: the number of the last state that is wanted."""

    final: int = len(STATES) - 1


class Stages:
    """The state of one rank. An instance that nobody takes through its life runs as long as it can be asked."""

    def __init__(self, server: BrokerEndpoint) -> None:
        self._server = server
        self.state = "run"
        #: The instance's time when that began, in seconds.
        self.since = 0.0
        #: Whether each rank goes through its life by itself; else all others are as far as rank 0.
        self.are_apart = False
        #: On rank 0: the ranks whose rc1 is over, and who is told when one more is; ``None``: all ranks.
        self.online: set[int] | None = None
        self.on_online: Callable[[], object] | None = None
        self._monitors: list[tuple[BrokerEndpoint, Message, int]] = []
        self._waiting: list[tuple[BrokerEndpoint, Message]] = []

    @property
    def number(self) -> int:
        """The place of the state in `STATES`."""
        return STATES.index(self.state)

    def begin(self) -> None:
        """The first state, of which nobody is told."""
        self.state, self.since = STATES[0], self._server.now()

    def enter(self, event: str, state: str) -> None:
        """It is in another state from now on, because of ``event``: a line in the log, and all are told who asked."""
        took = round_duration(self._server.now() - self.since)
        line = f"{event}: {self.state}->{state} {took}"
        self._server.broker.write_local_log(logring.INFO, "broker", line)
        self.state, self.since = state, self._server.now()
        for one in list(self._monitors):
            if not _tell(*one, self.number):
                self._monitors.remove(one)
                one[0].drop_stream(one[1])
        waiting, self._waiting = self._waiting, []
        for server, request in waiting:
            self.wait(server, request)

    def come_online(self, rank: int) -> None:
        """One more rank is ready (asked of rank 0's)."""
        if self.online is not None:
            self.online.add(rank)
            if self.on_online is not None:
                self.on_online()

    def monitor(self, server: BrokerEndpoint, request: Message, final: int) -> None:
        """Tell the state, and a stream each that follows until ``final``."""
        if _tell(server, request, final, self.number):
            one = (server, request, final)
            self._monitors.append(one)
            server.add_stream(request, partial(self._monitors.remove, one))

    def wait(self, server: BrokerEndpoint, request: Message) -> None:
        """Answer once it runs: errnum 2 where it never will again."""
        if self.number < RUN:
            self._waiting.append((server, request))
        elif self.number == RUN:
            server.respond(request)
        else:
            server.respond_error(request, ENOENT, "broker has surpassed RUN state")


def _tell(server: BrokerEndpoint, request: Message, final: int, state: int) -> bool:
    """Whether more is to be told."""
    if state <= final:
        server.respond(request, {"state": state})
        if not request.is_streaming:
            return False
        if state < final:
            return True
    server.respond_error(request, ENODATA)
    return False


def stages_of(broker: Broker) -> Stages:
    """What tells how far a rank is: its own, or rank 0's where ranks do not differ."""
    first = own_stages(broker.instance.broker(0))
    return own_stages(broker) if first.are_apart else first


def own_stages(broker: Broker) -> Stages:
    """What a rank keeps itself."""
    speaker = broker.endpoint
    assert isinstance(speaker, BrokerEndpoint), "it is made so"
    return speaker.kept(Stages)


def get(server: BrokerEndpoint, request: Message) -> None:
    """The state by its name, and for how many seconds it has been in it."""
    stages = stages_of(server.broker)
    server.respond(request, {"state": stages.state, "duration": server.now() - stages.since})


def monitor(server: BrokerEndpoint, request: Message) -> None:
    """The state by its number; a stream goes on with each that follows."""
    stages_of(server.broker).monitor(server, request, request.unpack(MonitorArgs).final)


def wait(server: BrokerEndpoint, request: Message) -> None:
    """Answered once the rank runs; errnum 2 where it never will again."""
    stages_of(server.broker).wait(server, request)


TABLE: Final[Table] = {
    "state-machine.get": (get, True),
    "state-machine.monitor": (monitor, False),
    "state-machine.wait": (wait, True),
}
