"""Knows the life of a module loaded into the broker's process, from the welcome to the last answer.

How far it is and how its code runs is in course; where its file is, in loader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from brokersim.host.course import (
    FINALIZING,
    RUNNING,
    Course,
    Done,
    Life,
    Loaded,
    Staged,
    exit_errnum,
    make_handle,
)
from brokersim.host.loader import ModuleCode, describe
from brokersim.host.methods import METHODS
from brokersim.host.ports import LocalHome
from brokersim.protocol.message import FLAG_NORESPONSE, REQUEST, ROLE_OWNER, Message
from brokersim.reactor.cost import Station
from brokersim.reactor.interrupts import pass_on
from brokersim.routing import logring


class Module(Loaded, Staged):
    """One module on one rank.

    It is made INIT; its file's class is constructed when the welcome request reaches it; it is RUNNING from its
    first prepare; FINALIZING while it may still send but no longer receives new requests; EXITED is the end.
    """

    __slots__ = (
        "_forget", "_said_ready", "args", "broker", "code", "handle", "life", "name",
    )  # fmt: skip

    methods = METHODS

    def __init__(
        self,
        broker: LocalHome,
        name: str,
        code: ModuleCode,
        args: tuple[str, ...],
        loaded: Done,
        forget: Callable[[Module], object],
    ) -> None:
        """``loaded(error)`` is told when it runs or has failed to, ``forget(module)`` when it is no module any more."""
        self.broker = broker
        self.name = name
        self.code = code
        self.args = args
        self.life = Life(broker.reactor, loaded)
        self._forget = forget
        self._said_ready = False
        self.handle = handle = make_handle(broker, name, code, self)
        node = broker.instance.node(broker.rank)
        if node is not None:
            handle.station = Station(node, handle)
        self._welcome()

    @property
    def path(self) -> Path:
        """The file its code is in."""
        return self.code.path

    def _welcome(self) -> None:
        """The loader's first message, counted like any other (flux-core 0.88)."""
        payload = {"args": list(self.args), "name": self.name, "uuid": self.handle.identity()}
        send_from(self.broker, Message(
            REQUEST, "welcome", payload, FLAG_NORESPONSE, dst=self.handle,
            userid=self.broker.owner, rolemask=ROLE_OWNER, handler=Course(self).begin,
        ))  # fmt: skip

    def set_running(self) -> None:
        """The module says it is ready, or its first prepare does: one message to the broker, once."""
        if not self.life.status and not self._said_ready:
            self._said_ready = True
            self.handle.request("module.status", {"status": RUNNING})

    def told(self, status: int, errnum: int) -> None:
        """The module says how far it is; in process only that it runs, the rest is this host's to say."""
        if status == RUNNING:
            self.life.run()

    def stop(self, removed: Done | None = None, cancel: bool = False) -> None:
        """Begin the end: no new requests, ``teardown`` runs, then EXITED; ``removed`` is told.

        With ``cancel`` a teardown that waits is not waited for.
        """
        self.life.tell_when_over(removed)
        if self.life.status < FINALIZING:
            self.life.status = FINALIZING
            self.broker.stop_serving(self.handle)
            course = Course(self)
            course.limit_tear_down()
            course.tear_down()
        if cancel:
            self.life.reactor.call_later(0, self.end, 0, "")

    def crashed(self, error: BaseException, message: Message | None) -> None:
        """A callback raised: log it, answer what it owed, leave the rest running."""
        pass_on(error)
        what = f" in {message.type_str} {message.topic}" if message is not None and message.topic else ""
        self.log(f"ended by {describe(error)}{what}")
        self.end(exit_errnum(error), f"module {self.name!r} ended: {describe(error)}")

    def end(self, errnum: int, text: str) -> None:
        """It is over: off the loop and off the tables, and who waits for that is told."""
        if self.life.exit(errnum):
            self._forget(self)
            self.handle.close()
            self.life.tell(self.name, errnum, text)

    def log(self, text: str) -> None:
        self.broker.write_log(logring.ERR, self.name, text)


def send_from(broker: LocalHome, message: Message) -> None:
    """Send a message of the broker's own to whom and what its fields say; it is counted like any other."""
    sender = broker.endpoint
    message.src = sender
    sender.sent(message)
    broker.reactor.push(message)
