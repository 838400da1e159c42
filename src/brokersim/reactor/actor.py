"""Knows what the loop needs of anything that sends and receives messages; not routing, not modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brokersim.protocol.message import FLAG_STREAMING, RESPONSE, Message

if TYPE_CHECKING:
    from brokersim.reactor.cost import Station
    from brokersim.reactor.watchers import ModuleLoop


Tracer = Callable[[str, Any, Message], None]
#: An open request: the continuation ``then(response, arg)``, its argument, the request. Not kept on the message:
#: whoever answers may keep that, and must not keep the requester's continuation alive.
Open = tuple[Callable[[Message, Any], object], Any, Message]


class Interruption(BaseException):
    """Raised into a callback from outside, to end its module: no ``except Exception`` of it may swallow that."""


#: What a callback raises that ends its module and nothing else. ``sys.exit`` in one is meant for the module alone, and
#: so is a KeyboardInterrupt of its own (the terminal's ^C goes on: `interrupts.pass_interrupt`, at each actor's end);
#: what remains (a test's outcome, trio's cancellation) is no module's to keep.
FAILURES = (Exception, SystemExit, KeyboardInterrupt, Interruption)


class Timer:
    """One call due at ``when`` (ns); ``cancel`` leaves a tombstone in the heap, skipped when reached."""

    __slots__ = ("args", "fn", "owner", "when")

    def __init__(
        self, when: int, owner: Actor | None, fn: Callable[..., object] | None, args: tuple[Any, ...]
    ) -> None:
        self.when = when
        self.owner = owner
        self.fn = fn
        self.args = args

    @property
    def is_active(self) -> bool:
        """Still to be called."""
        return self.fn is not None

    def spend(self) -> None:
        """It is being called: never again, and its actor has one less."""
        self.fn = None
        owner = self.owner
        if owner is not None and owner.timers is not None:
            owner.timers.discard(self)

    def cancel(self) -> None:
        """Never call it; harmless when it has been called already."""
        self.spend()
        self.args = ()


class Actor:
    """One end of an exchange: its counters, its open requests and, if it has watchers, its loop.

    ``counts`` holds the eight counters in the order of ``COUNTER_NAMES``. ``pending`` is the only table of open
    requests, by matchtag.
    """

    __slots__ = ("counts", "loop", "own_loop", "pending", "station", "stray", "timers", "tracer", "wakeups")

    def __init__(self) -> None:
        self.counts = [0] * 8
        self.pending: dict[int, Open] = {}
        #: Its loop while that has anything to call, and the same for good.
        self.loop: ModuleLoop | None = None
        self.own_loop: ModuleLoop | None = None
        self.station: Station | None = None
        #: Its timers that are still to be called; most actors never have one.
        self.timers: set[Timer] | None = None
        #: Turns of its loop without a message: timers, fds, idle turns.
        self.wakeups = 0
        #: Responses nobody waits for: late, or a second answer.
        self.stray = 0
        #: Told of every message this actor sends ("tx") and is handed ("rx").
        self.tracer: Tracer | None = None

    @property
    def iterations(self) -> int:
        """Turns of this actor's loop: one a message received, one a wake-up without a message."""
        counts = self.counts
        return counts[1] + counts[3] + counts[5] + counts[7] + self.wakeups

    def sent(self, message: Message) -> None:
        """Count a message that this actor sends, at the start of the send: one that fails counts, too."""
        self.counts[message.type - 1] += 1
        if self.tracer is not None:
            self.tracer("tx", self, message)

    def handed(self, message: Message) -> None:
        """Count a message that this actor is handed."""
        self.counts[message.type] += 1
        if self.tracer is not None:
            self.tracer("rx", self, message)

    def put_back(self, message: Message) -> None:
        """Count a message that was received while another was waited for: when it is handed out it counts again."""
        self.counts[message.type] += 1

    def clear_counts(self, _: Message | None = None) -> None:
        """Zero the eight counters; the iteration count goes on."""
        iterations = self.iterations
        self.counts[:] = [0] * 8
        self.wakeups = iterations

    def open_requests(self) -> list[Message]:
        """The requests that wait for an answer, oldest first."""
        return [request for _then, _arg, request in self.pending.values()]

    def cancel_timers(self) -> None:
        """Call none of its timers any more, also of those that are due right now."""
        for timer in list(self.timers or ()):
            timer.cancel()

    def refuse(self, request: Message, error: Exception) -> None:
        """Answer a request whose handler raised RequestError."""
        raise NotImplementedError

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A callback of this actor raised; it must take itself off the loop and answer what it owed."""
        raise NotImplementedError

    def stray_response(self, response: Message) -> None:
        """A response came that no open request of this actor waits for."""
        self.stray += 1


def dispatch(message: Message) -> None:
    """Count a message as received and hand it to its handler, or to the continuation its request left."""
    dst: Any = message.dst
    dst.handed(message)
    if message.type != RESPONSE:
        message.handler(message)  # type: ignore[misc]
        return
    tag = message.matchtag
    found = dst.pending.get(tag)
    if found is None:
        dst.stray_response(message)
        return
    if message.errnum or not message.flags & FLAG_STREAMING:
        del dst.pending[tag]
    found[0](message, found[1])
