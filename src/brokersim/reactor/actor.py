"""Knows what the loop needs of anything that sends and receives messages; not routing, not modules."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from brokersim.native.engine import twin
from brokersim.protocol.message import RESPONSE, Message

Tracer = Callable[[str, Any, Message], None]
#: Called with the answer to a request, and with the argument it was sent with.
Then = Callable[[Message, Any], object]
#: An open request: the continuation, its argument, the request. Not kept on the message: whoever answers may keep that,
#: and must not keep the requester's continuation alive.
Open = tuple[Then, Any, Message]
#: The open requests of who has none, as most modules of a large instance: one for all, never written to (`Actor.open`).
NOTHING_OPEN: Final[dict[int, Open]] = {}
#: As argument of a continuation: nobody's code is called by it, so that it takes no turn of its own.
AT_ONCE: Final = object()


class Interruption(BaseException):
    """Raised into a callback from outside, to end its module: no ``except Exception`` of it may swallow that."""


#: What a callback raises that is its actor's to answer for (`Actor.failed`): anything. ``sys.exit`` in one is meant for
#: the module alone, and so is a KeyboardInterrupt, a GeneratorExit or a BaseException of its own; what is no module's
#: to keep (the terminal's ^C, trio's cancellation, a test's outcome) goes on from there: `interrupts.pass_on`.
FAILURES = (BaseException,)


@twin
class Timer:
    """One call due at ``when`` (ns); ``cancel`` leaves a tombstone in the heap, skipped when reached or swept."""

    __slots__ = ("actor", "args", "fn", "when")

    def __init__(
        self, when: int, actor: Actor | None, fn: Callable[..., object] | None, args: tuple[object, ...]
    ) -> None:
        self.when = when
        self.actor = actor
        self.fn = fn
        self.args = args

    @property
    def is_active(self) -> bool:
        """Still to be called."""
        return self.fn is not None

    def spend(self) -> None:
        """It is being called: never again, and its actor has one less."""
        self.fn = None
        actor = self.actor
        if actor is not None and actor.timers is not None:
            actor.timers.discard(self)

    def cancel(self) -> None:
        """Never call it; harmless when it has been called already."""
        self.spend()
        self.args = ()


class Loop(Protocol):
    """What turns for an actor that has more to be called than its handlers: its watchers, or what holds it blocked."""

    #: Is a turn no more than checks, dispatch and prepares? Then the drain makes it by itself.
    is_plain: bool
    #: Is there nothing to see to at the end of a turn but the prepares?
    is_settled: bool
    #: Does a callback of the actor wait for an answer?
    is_blocked: bool
    #: Turns in which idle watchers were called.
    idle_calls: int
    #: One call for all checks, and one for all prepares, which come before poll; ``None`` without any.
    check: Callable[[], object] | None
    poll: Callable[[], object] | None
    __slots__ = ()

    @property
    def is_due(self) -> bool:
        """Has it something to call before a dispatch, checks or continuations?"""

    @property
    def turns_on(self) -> bool:
        """Does its poll not block, because of more than the idle watchers that spin?"""

    @property
    def spins(self) -> bool:
        """Are there idle watchers with something to call?"""

    def earn(self, turns: int) -> None:
        """It has turned so often without a message, and called its idle watchers each time."""

    def suspend(self) -> None:
        """Call nothing more, until ``resume``."""

    def resume(self) -> None:
        """Be the actor's loop again, if there is anything to call."""

    def iterate(
        self, message: Message | None, due: Iterable[Timer] = (), fds: Sequence[Callable[[], object]] = ()
    ) -> None:
        """One whole turn."""

    def before_dispatch(self) -> bool:
        """The first part of a turn: what comes before the dispatch. False if that has ended the actor."""

    def dispatch(
        self,
        message: Message | None,
        due: Iterable[Timer],
        fds: Sequence[Callable[[], object]],
        quiet: bool,
    ) -> None:
        """The second: the dispatch and what comes below it. ``quiet``: nothing but the message has happened."""

    def prepare(self) -> None:
        """The last: the prepares of the next turn, and whether there will be one."""

    def settle(self) -> None:
        """The end of ``prepare``, for who has called the prepares."""

    def fulfil(self, then: Then, response: Message, arg: object) -> None:
        """A future has its answer: call its continuation in the next turn."""

    def close(self) -> None:
        """Call nothing more."""


class Station(Protocol):
    """An actor's place where time is charged."""

    #: What waits to be served: messages, or timers that are due together.
    inbox: deque[Message | list[Timer]]

    __slots__ = ()

    @property
    def is_busy(self) -> bool:
        """Something is in service or waits for it."""

    def arrive(self, item: Message | list[Timer]) -> None:
        """Queue a message, or timers that are due together."""

    def spin(self, on: bool) -> None:
        """The actor's loop turns all the time, or no more."""

    def turn(self) -> None:
        """The actor's loop has something to call in its next turn."""

    def settle(self) -> None:
        """Bring the counts of what is not executed but earned up to now."""

    def withdraw(self) -> list[Message]:
        """Take back the messages that wait."""

    def leave(self) -> None:
        """The actor is gone."""


@twin
def eight_counters() -> list[int]:
    """Eight zeros, in the order of ``COUNTER_NAMES``; compiled, one object that answers like the list."""
    return [0] * 8


@twin
class Actor:
    """One end of an exchange: its counters, its open requests and, if it has watchers, its loop.

    ``counts`` holds the eight counters in the order of ``COUNTER_NAMES``. ``pending`` is the only table of open
    requests, by matchtag.
    """

    #: Is a continuation called in a turn of its own? True for who has a loop; the broker and its clients hand on.
    continues = False

    __slots__ = ("counts", "loop", "own_loop", "pending", "station", "stray", "timers", "tracer", "wakeups")

    def __init__(self) -> None:
        self.counts = eight_counters()
        self.pending: dict[int, Open] = NOTHING_OPEN
        #: Its loop while that has anything to call, and the same for good.
        self.loop: Loop | None = None
        self.own_loop: Loop | None = None
        self.station: Station | None = None
        #: Its timers that are still to be called; most actors never have one.
        self.timers: set[Timer] | None = None
        #: Turns of its loop without a message: timers, fds, idle turns. A response counts for two turns, that of the
        #: message and that of the continuation; where the second was none, this is one less.
        self.wakeups = 0
        #: Responses nobody waits for: late, or a second answer.
        self.stray = 0
        #: Told of every message this actor sends ("tx") and is handed ("rx").
        self.tracer: Tracer | None = None

    @property
    def iterations(self) -> int:
        """Turns of its loop: one a message received, one a continuation, one a wake-up without either."""
        counts = self.counts
        return counts[1] + counts[3] * (1 + self.continues) + counts[5] + counts[7] + self.wakeups

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
        self.wakeups -= self.continues and message.type == RESPONSE

    def clear_counts(self, _: Message | None = None) -> None:
        """Zero the eight counters; the iteration count goes on."""
        iterations = self.iterations
        self.counts[:] = [0] * 8
        self.wakeups = iterations

    def open(self, tag: int, then: Then, arg: Any, request: Message) -> None:
        """Note an open request. (`Endpoint.request` has these lines written out.)"""
        if self.pending is NOTHING_OPEN:
            self.pending = {}
        self.pending[tag] = then, arg, request

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
        self.wakeups -= self.continues
