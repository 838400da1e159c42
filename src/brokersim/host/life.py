"""Knows the life of one loaded module: I R F X, from the welcome to the last answer. Not where its file is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brokersim.host.handle import Handle
from brokersim.host.loader import ModuleCode, describe
from brokersim.protocol.errnums import ECONNRESET, EINVAL, ETIMEDOUT, RequestError
from brokersim.protocol.message import FLAG_NORESPONSE, REQUEST, Message
from brokersim.reactor.actor import FAILURES
from brokersim.reactor.cost import Station
from brokersim.reactor.loop import Timer
from brokersim.routing import logring

if TYPE_CHECKING:
    from brokersim.routing.rank import Broker

INIT, RUNNING, FINALIZING, EXITED = range(4)
STATE_LETTERS = "IRFX"
#: Seconds a module may take to become ready, and to stop, unless attributes say otherwise.
LOAD_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

Done = Callable[[RequestError | None], object]


class Module:
    """One module on one rank.

    It is made INIT; its file's class is constructed when the welcome request reaches it; it is RUNNING from its
    first prepare; FINALIZING while it may still send but no longer receives new requests; EXITED is the end.
    """

    __slots__ = (
        "_loaded",
        "_removed",
        "_said_ready",
        "_timer",
        "args",
        "broker",
        "code",
        "errnum",
        "handle",
        "name",
        "since",
        "status",
    )

    def __init__(
        self, broker: Broker, name: str, code: ModuleCode, args: tuple[str, ...], loaded: Done
    ) -> None:
        self.broker = broker
        self.name = name
        self.code = code
        self.args = args
        self.status = INIT
        self.errnum = 0
        self._said_ready = False
        self._loaded: Done | None = loaded
        self._removed: list[Done] = []
        self._timer: Timer | None = None
        instance = broker.instance
        make = Handle if code.program is None else code.program.make_handle
        self.handle = handle = make(broker, name, instance.uuid(broker.rank, name), self)
        if code.may_block:
            handle.workers = instance.workers
        self.since = broker.reactor.now
        broker.add_service(name, handle)
        broker.add_endpoint(handle)
        node = instance.node(broker.rank)
        if node is not None:
            handle.station = Station(node, handle)
        self._welcome()

    @property
    def idle_ns(self) -> int:
        """Time (ns) since it was loaded; the broker keeps no time of the last message (a cost a message)."""
        return self.broker.reactor.now - self.since

    @property
    def sendqueue(self) -> int:
        """Messages that wait to be taken by it: none, in a process where all share one queue."""
        return 0

    # -- load

    def _welcome(self) -> None:
        """The loader's first message, counted like any other (flux-core 0.88)."""
        payload = {"args": list(self.args), "name": self.name, "uuid": self.handle.uuid}
        message = Message(
            REQUEST, "welcome", payload, FLAG_NORESPONSE, src=self.broker.endpoint, dst=self.handle,
            userid=self.broker.owner, rolemask=1, handler=self._start,
        )  # fmt: skip
        sender = self.broker.endpoint
        sender.counts[0] += 1
        if sender.tracer is not None:
            sender.tracer("tx", sender, message)
        self.broker.reactor.push(message)

    def _start(self, _: Message) -> None:
        handle = self.handle
        handle.event_subscribe(sys.intern(f"{self.name}.stats-clear"))  # one string for a thousand ranks
        if self.code.program is not None:
            self.code.program.start(handle, self.args)
            return
        handle.table = self.code.table
        try:
            handle.owner = self.code.owner(handle, *self.args)
        except RequestError as error:
            self._end(error.errno or EINVAL, error.text)
            return
        except FAILURES as error:
            self._end(exit_errnum(error), f"{self.code.path} raises at start: {describe(error)}")
            return
        for entry in self.code.table.events:
            handle.event_subscribe(_subscription(entry.full_topic(self.name)))
        ready = getattr(handle.owner, "ready", None)
        if ready is None:
            self.set_running()
        else:
            seconds = self.broker.instance.seconds("broker.module-load-timeout", LOAD_TIMEOUT)
            self._timer = self.broker.reactor.call_later(seconds, self._load_timed_out)
            handle.spawn(self._when_ready(ready()))

    async def _when_ready(self, ready: Any) -> None:
        try:
            await ready
        except FAILURES as error:
            self._end(
                exit_errnum(error), describe(error) if not isinstance(error, RequestError) else error.text
            )
            return
        self.set_running()

    def set_running(self) -> None:
        """The module says it is ready, or its first prepare does: one message to the broker, once."""
        if self.status == INIT and not self._said_ready:
            self._said_ready = True
            self.handle.request("module.status", {"status": RUNNING})

    def became_running(self) -> None:
        """The message is there: callers of ``load`` are answered."""
        if self.status == INIT:
            self.status = RUNNING
            self._cancel_timer()
            if self._loaded is not None:
                loaded, self._loaded = self._loaded, None
                loaded(None)

    def told(self, status: int, errnum: int) -> None:
        """The module says how far it is; in process only that it runs, the rest is this host's to say."""
        if status == RUNNING:
            self.became_running()

    def _load_timed_out(self) -> None:
        self._end(
            ETIMEDOUT,
            f"module {self.name!r} did not become ready in time; does its start wait for something?",
        )

    # -- end

    def stop(self, removed: Done | None = None, cancel: bool = False) -> None:
        """Begin the end: no new requests, ``teardown`` runs, then EXITED; ``removed`` is told.

        With ``cancel`` a teardown that waits is not waited for.
        """
        if removed is not None:
            if self.status == EXITED:
                removed(None)
                return
            self._removed.append(removed)
        if self.status < FINALIZING:
            self._finalize()
        if cancel:
            self.broker.reactor.call_later(0, self._end, 0, "")

    def _finalize(self) -> None:
        self.status = FINALIZING
        self.broker.stop_serving(self.handle)
        self._cancel_timer()
        seconds = self.broker.instance.seconds("broker.module-stop-timeout", STOP_TIMEOUT)
        self._timer = self.broker.reactor.call_later(seconds, self._stop_timed_out)
        self.handle.spawn(self._tear_down())

    async def _tear_down(self) -> None:
        teardown = getattr(self.handle.owner, "teardown", None)
        try:
            if teardown is not None:
                ending = teardown()
                if ending is not None:
                    await ending
        except FAILURES as error:
            self._log(f"teardown raises {describe(error)}")
        # Later, not now: this coroutine is one of those that the end throws out.
        self.broker.reactor.call_later(0, self._end, 0, "")

    def _stop_timed_out(self) -> None:
        self._log("refuses to stop and is ended")
        self._end(ETIMEDOUT, "")

    def crashed(self, error: BaseException, message: Message | None) -> None:
        """A callback raised: log it, answer what it owed, leave the rest running."""
        what = f" in {message.type_str} {message.topic}" if message is not None and message.topic else ""
        self._log(f"ended by {describe(error)}{what}")
        self._end(exit_errnum(error), f"module {self.name!r} ended: {describe(error)}")

    def _end(self, errnum: int, text: str) -> None:
        if self.status == EXITED:
            return
        self.status = EXITED
        self.errnum = errnum
        self._cancel_timer()
        self.broker.instance.forget_module(self)
        self.handle.close()
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            if errnum:
                loaded(RequestError(errnum, text))
            else:
                loaded(RequestError(ECONNRESET, f"module {self.name!r} was removed before it was ready"))
        for removed in self._removed:
            removed(None)
        self._removed.clear()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _log(self, text: str) -> None:
        self.broker.write_log(logring.ERR, self.name, text)


def exit_errnum(error: BaseException) -> int:
    """The errnum a module ends with: ValueError 22, OSError its own, anything else 104 (flux-core 0.88)."""
    if isinstance(error, ValueError):
        return EINVAL
    if isinstance(error, OSError) and error.errno:
        return error.errno
    return ECONNRESET


def _subscription(topic: str) -> str:
    """The plain prefix that covers a topic glob."""
    for at, char in enumerate(topic):
        if char in "*?[":
            return topic[:at]
    return topic
